/* What the requirements of a scope name: keys, certificates, trusted roots. Fetched and parsed once a pull, by a thread
 * of its own while the image's manifest and signatures are on their way: GnuPG's import of a keyring takes as long as
 * all of them. */
#pragma once

#include <glib.h>

#include "policy/requirement.h"
#include "puller/resource.h"

typedef struct _GpVerifyMaterial GpVerifyMaterial;

/* Starts the thread, or works here where there is none to be had. Borrows both arguments, which must outlive the
 * result. @resources: where what the policy names by URI comes from; NULL: files only. Nothing is done, and nothing is
 * an error, if no requirement can need it: one rejects outright or cannot be evaluated. */
GpVerifyMaterial *gp_verify_material_start(GPtrArray *requirements, GpResources *resources);

/* Waits until all is fetched and parsed; to be called by one thread, as often as it likes. Errors: KEY (something could
 * not be had), with the place of the requirement; CANCELLED. */
gboolean gp_verify_material_wait(GpVerifyMaterial *material, GError **error);

/* After gp_verify_material_wait(): what @requirement's evaluator has made of it; borrowed. Errors: KEY, with the place.
 */
gpointer gp_verify_material_of(const GpVerifyMaterial *material, const GpRequirement *requirement, GError **error);

/* Waits for the thread. */
void gp_verify_material_free(GpVerifyMaterial *material);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpVerifyMaterial, gp_verify_material_free)
