/* Runs a fuzz target over its kept inputs: replay_NAME reads $GUEST_PULL_FUZZ_CORPUS/NAME or tests/fuzz/corpus/NAME and
 * says in TAP how many there were. A target that crashes or aborts ends this program; the last line then names the
 * input. */
#include <glib.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static guint replay(const char *directory)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) files = g_dir_open(directory, 0, &error);
    const char *name;
    guint count = 0;
    while (files && (name = g_dir_read_name(files))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autofree char *data = NULL;
        gsize size;
        if (!g_file_get_contents(path, &data, &size, &error))
            break;
        (void) printf("# %s\n", path);
        (void) fflush(stdout);
        /* A copy of exactly this size: what reads behind it is seen by a sanitizer. */
        g_autofree guint8 *copy = g_memdup2(data, size);
        (void) LLVMFuzzerTestOneInput(copy, size);
        count++;
    }
    if (error)
        (void) printf("# %s\n", error->message);
    return error ? 0 : count;
}

int main(int argc, char **argv)
{
    const char *corpus = g_getenv("GUEST_PULL_FUZZ_CORPUS");
    g_autofree char *program = g_path_get_basename(argv[0]);
    const char *name = g_str_has_prefix(program, "replay_") ? program + strlen("replay_") : program;
    g_autofree char *directory = g_build_filename(corpus ? corpus : "tests/fuzz/corpus", name, NULL);
    guint count = replay(directory);
    (void) printf("1..1\n%s 1 fuzz/%s: %u kept inputs\n", count ? "ok" : "not ok", name, count);
    return count ? 0 : 1;
}
