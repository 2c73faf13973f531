/* What Hyperscan alone costs on a text: expressions in, nanoseconds a byte out. Nothing is done with a match but counting it,
 * so no program that looks for the same can cost less, in whatever language. Made and run by `python -m bench.floor`. */
#include <hs/hs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 30, MOST = 256, LINE = 1 << 16, ROOM = 1 << 22 };

static unsigned long matches;

static int note(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context) {
    (void)id, (void)from, (void)to, (void)flags, (void)context;
    matches++;
    return 0;
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static hs_database_t *compiled(const char *path) {
    static char line[LINE];
    char *expressions[MOST];
    unsigned ids[MOST], flags[MOST], count = 0;
    FILE *file = fopen(path, "r");
    while (file && count < MOST && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        expressions[count] = strdup(line);
        ids[count] = count;
        flags[count++] = 0;
    }
    hs_database_t *database = NULL;
    hs_compile_error_t *error = NULL;
    if (hs_compile_multi((const char *const *)expressions, flags, ids, count, HS_MODE_BLOCK, NULL, &database, &error)) {
        fprintf(stderr, "%s: %s\n", path, error->message);
        exit(1);
    }
    return database;
}

int main(int count, char **paths) { /* two files of expressions, then texts */
    hs_database_t *databases[] = {compiled(paths[1]), compiled(paths[2])};
    hs_scratch_t *scratch = NULL;
    hs_alloc_scratch(databases[0], &scratch);
    hs_alloc_scratch(databases[1], &scratch);
    char *text = malloc(ROOM);
    for (int each = 3; each < count; each++) {
        FILE *file = fopen(paths[each], "r");
        size_t size = file ? fread(text, 1, ROOM, file) : 0;
        double best = 1e9;
        for (int round = 0; round < ROUNDS; round++) {
            double begun = now();
            matches = 0;
            for (int number = 0; number < 2; number++)
                hs_scan(databases[number], text, size, 0, scratch, note, NULL);
            double took = now() - begun;
            best = took < best ? took : best;
        }
        printf("%.3f %lu\n", best / size * 1e9, matches);
    }
    return 0;
}
