/* Receipts: one small JSON file for every pull that succeeded, in a directory of the runtime directory, for whoever
 * wants to know later what ran here and why it was allowed to. */
#pragma once

#include <glib.h>
#include <jansson.h>

/* Writes @receipt (borrowed) as a new file of runtime_dir/receipts, for root alone, whole or not at all. Files beyond
 * GP_LIMIT_RECEIPTS are removed, the oldest first. Returns the file's path, caller's. Errors: INTERNAL, SPACE. */
char *gp_receipt_write(const char *runtime_dir, const json_t *receipt, GError **error);

/* All receipts, the oldest first: an array of objects, each with its file's path as "file". What cannot be read is
 * there too, with "error" instead of its content. No directory is an empty list. New reference. Errors: INTERNAL. */
json_t *gp_receipts_read(const char *runtime_dir, GError **error);
