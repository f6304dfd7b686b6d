/* What OpenSSL does without memory. */
#pragma once

/* To be called first in main(), before anything of OpenSSL. From then on a process in which OpenSSL gets no memory
 * ends, as it does in GLib: OpenSSL's decoders report a lack of memory as a key or a certificate that is none, a
 * verification as a signature that does not fit, and no caller can tell these from the truth. */
void gp_crypto_ends_without_memory(void);
