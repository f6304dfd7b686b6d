/* The one layout of LUKS2 headers that we write and accept. */
#pragma once

#include "base/limits.h"

#define GP_LUKS2_METADATA_SIZE (16 * GP_KIB)
#define GP_LUKS2_DATA_OFFSET (1 * GP_MIB)
#define GP_LUKS2_KEYSLOTS_SIZE (GP_LUKS2_DATA_OFFSET - 2 * GP_LUKS2_METADATA_SIZE)
#define GP_LUKS2_SECTOR_SIZE 4096
