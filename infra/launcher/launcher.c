/* livinglab-launcher: the first process of every container.
 *
 * It looks at what is really enforced around it, writes one line about that on standard output, refuses to go on where a
 * demand does not hold, and otherwise executes the command with a clean environment. The line is authenticated with the
 * nonce, which stands in this process's argument vector and is gone once the command has been executed; so nobody who
 * runs later can write such a line. The command's standard error is its standard output, so that nothing it says comes before.
 *
 *   livinglab-launcher --nonce HEX --expect NAME=VALUE ... [--hidden NAME ...] [--rlimit pids] [--wait] [--begin PIPE] -- COMMAND [ARGUMENT ...]
 *
 * NAME=VALUE: uid, gid, memory (bytes), cpu (thousandths of a core), pids, gpus, writable and readable (mount points, separated by ':').
 * --hidden names a property that this runtime is known to hide from inside; not seeing it is then reported, not refused.
 * --rlimit pids: where no control group bounds the processes, they are bounded here, and the finding names that weaker witness.
 * --wait: after the report standard input must end: whoever holds its other end looks from outside meanwhile.
 * --begin PIPE: the command begins once somebody reads the named pipe, and whoever reads it sees its end when the container is over.
 *
 * Exit codes of its own: 97 a demand does not hold, 98 misuse, 99 the command cannot be executed.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define VERSION "1"
#define REFUSED 97
#define MISUSE 98
#define NOT_EXECUTED 99
#define REPORT_MAX 12288

extern char **environ;

/* --- SHA-256 and HMAC (FIPS 180-4, RFC 2104) ------------------------------------------------------------------------ */

typedef struct { uint32_t h[8]; uint8_t block[64]; size_t fill; uint64_t length; } sha256_state;

static const uint32_t K[64] = {
    0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,0xd807aa98,0x12835b01,0x243185be,0x550c7dc3,0x72be5d74,
    0x80deb1fe,0x9bdc06a7,0xc19bf174,0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,0x5cb0a9dc,0x76f988da,0x983e5152,0xa831c66d,
    0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,0x27b70a85,0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,
    0x92722c85,0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,0xd192e819,0xd6990624,0xf40e3585,0x106aa070,0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,
    0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,0x682e6ff3,0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2};

static uint32_t rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void sha256_block(sha256_state *s, const uint8_t *p) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4*i] << 24 | (uint32_t)p[4*i+1] << 16 | (uint32_t)p[4*i+2] << 8 | p[4*i+3];
    for (int i = 16; i < 64; i++)
        w[i] = (rotr(w[i-2],17) ^ rotr(w[i-2],19) ^ w[i-2] >> 10) + w[i-7] + (rotr(w[i-15],7) ^ rotr(w[i-15],18) ^ w[i-15] >> 3) + w[i-16];
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (rotr(v[4],6) ^ rotr(v[4],11) ^ rotr(v[4],25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        uint32_t t2 = (rotr(v[0],2) ^ rotr(v[0],13) ^ rotr(v[0],22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

static void sha256_init(sha256_state *s) {
    static const uint32_t h[8] = {0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19};
    memset(s, 0, sizeof *s);
    memcpy(s->h, h, sizeof h);
}

static void sha256_add(sha256_state *s, const void *data, size_t n) {
    s->length += n;
    for (const uint8_t *p = data; n--; p++) {
        s->block[s->fill++] = *p;
        if (s->fill == 64) { sha256_block(s, s->block); s->fill = 0; }
    }
}

static void sha256_end(sha256_state *s, uint8_t out[32]) {
    uint64_t bits = s->length * 8;
    uint8_t length[8], one = 0x80, zero = 0;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(s, &one, 1);
    while (s->fill != 56) sha256_add(s, &zero, 1);
    sha256_add(s, length, 8);
    for (int i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

static void hmac(const uint8_t *key, size_t key_size, const char *data, uint8_t out[32]) {
    uint8_t pad[64], inner[32];
    sha256_state s;
    for (int i = 0; i < 64; i++) pad[i] = (uint8_t)((i < (int)key_size ? key[i] : 0) ^ 0x36);
    sha256_init(&s); sha256_add(&s, pad, 64); sha256_add(&s, data, strlen(data)); sha256_end(&s, inner);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36 ^ 0x5c;
    sha256_init(&s); sha256_add(&s, pad, 64); sha256_add(&s, inner, 32); sha256_end(&s, out);
}

/* --- the report ----------------------------------------------------------------------------------------------------- */

static char report[REPORT_MAX];
static size_t used;
static int findings, failed;
static bool on_gvisor;
static const char *hidden[16];
static int hidden_count;

static void put(const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(report + used, sizeof report - used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof report - used) { fputs("livinglab-launcher: the report is too long\n", stderr); exit(REFUSED); }
    used += (size_t)n;
}

static void put_string(const char *text) {
    put("\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\') put("\\%c", *p);
        else if (*p < 0x20 || *p > 0x7e) put("\\u%04x", *p);
        else put("%c", *p);
    }
    put("\"");
}

static bool may_be_hidden(const char *property) {
    for (int i = 0; i < hidden_count; i++) if (!strcmp(hidden[i], property)) return true;
    return false;
}

/* One finding. `seen` NULL: it cannot be seen from inside. */
static void finding_by(const char *witness, const char *property, const char *demanded, const char *seen, bool holds) {
    put(findings++ ? ",{\"property\":" : "{\"property\":");
    put_string(property);
    put(",\"demanded\":"); put_string(demanded);
    put(",\"seen\":"); put_string(seen ? seen : "not visible");
    put(",\"witness\":\"%s\",\"holds\":%s}", witness, seen && holds ? "true" : "false");
    if (!(seen ? holds : may_be_hidden(property))) failed++;
}

static void finding(const char *property, const char *demanded, const char *seen, bool holds) { finding_by("probe", property, demanded, seen, holds); }

/* --- looking -------------------------------------------------------------------------------------------------------- */

static bool read_file(const char *path, char *buffer, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t n = fread(buffer, 1, size - 1, file);
    fclose(file);
    buffer[n] = 0;
    return true;
}

#define CG "/sys/fs/cgroup/"
#define NONE (-1) /* nothing of the kind is to be seen */

/* What a control group's file limits to; INT64_MAX where it does not. */
typedef int64_t reader(const char *path);

static int64_t read_number(const char *path) {
    char text[64];
    if (!read_file(path, text, sizeof text)) return NONE;
    return isdigit((unsigned char)text[0]) ? strtoll(text, NULL, 10) : INT64_MAX;
}

/* Thousandths of a core, of version 1's two files or version 2's one. */
static int64_t read_quota(const char *path) {
    char text[64], other[4096], *end;
    if (!read_file(path, text, sizeof text)) return NONE;
    if (!isdigit((unsigned char)text[0])) return INT64_MAX;
    int64_t quota = strtoll(text, &end, 10), period = strtoll(end, NULL, 10);
    const char *slash = strrchr(path, '/');
    if (!strcmp(slash, "/cpu.cfs_quota_us")) {
        snprintf(other, sizeof other, "%.*s/cpu.cfs_period_us", (int)(slash - path), path);
        period = read_number(other);
    }
    return period > 0 ? quota * 1000 / period : INT64_MAX;
}

/* How many there are in a list like 0-3,8. */
static int64_t read_list(const char *path) {
    char text[4096];
    if (!read_file(path, text, sizeof text)) return NONE;
    int64_t count = 0;
    for (char *p = text; isdigit((unsigned char)*p); p += *p == ',') {
        long first = strtol(p, &p, 10), last = *p == '-' ? strtol(p + 1, &p, 10) : first;
        count += last - first + 1;
    }
    return count ? count : INT64_MAX;
}

/* The path of our own control group under a controller (version 1) or of all (version 2), as far as it is told. */
static bool own_group(const char *controller, char *out, size_t size) {
    char text[8192];
    if (!read_file("/proc/self/cgroup", text, sizeof text)) return false;
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        bool ours = !*controller && !names[1]; /* version 2's line names none */
        for (char *rest, *name = strtok_r(names + 1, ",", &rest); name && *controller; name = strtok_r(NULL, ",", &rest)) ours = ours || !strcmp(name, controller);
        if (ours) { snprintf(out, size, "%s", path); return true; }
    }
    return false;
}

/* The least that `file` limits to in our control group and in those that it lies in, as far as they can be seen. A container
 * that has a view of its own sees its own group as the root; one that has not finds it by its path. */
static int64_t least_of(const char *folder, const char *controller, const char *file, reader *read) {
    char group[2048] = "", path[4096];
    int64_t least = NONE;
    if (!own_group(controller, group, sizeof group)) group[0] = 0;
    for (;;) {
        char *last = strrchr(group, '/');
        snprintf(path, sizeof path, CG "%s%s/%s", folder, last && !last[1] ? "" : group, file);
        int64_t here = read(path);
        if (here != NONE && (least == NONE || here < least)) least = here;
        if (!last) return least;
        *last = 0;
    }
}

static int64_t least(const char *controller, const char *v1, const char *v2, reader *read) {
    int64_t old = v1 ? least_of(controller, controller, v1, read) : NONE, new = v2 ? least_of("", "", v2, read) : NONE;
    return old == NONE || (new != NONE && new < old) ? new : old;
}

static char status[8192];

static const char *status_field(const char *name, char *out, size_t size) {
    char *line = strstr(status, name);
    if (!line) return NULL;
    line += strlen(name);
    while (*line == ' ' || *line == '\t') line++;
    size_t n = strcspn(line, "\n");
    snprintf(out, size, "%.*s", (int)n, line);
    return out;
}

static void look_at_network(void) {
    char text[8192], seen[512] = "interfaces:";
    bool only_lo = true;
    if (!read_file("/proc/self/net/dev", text, sizeof text)) { finding("network", "none", NULL, false); return; }
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        if (!colon || strchr(line, '|')) continue;
        *colon = 0;
        while (*line == ' ') line++;
        if (strcmp(line, "lo")) only_lo = false;
        strncat(seen, " ", sizeof seen - strlen(seen) - 1);
        strncat(seen, line, sizeof seen - strlen(seen) - 1);
    }
    int routes = 0;
    if (read_file("/proc/self/net/route", text, sizeof text))
        for (char *p = strchr(text, '\n'); p && p[1]; p = strchr(p + 1, '\n')) routes++;
    size_t n = strlen(seen);
    snprintf(seen + n, sizeof seen - n, "; routes: %d", routes);
    finding("network", "none", seen, only_lo && !routes);
}

/* What the mount table says of the last thing that was mounted at "/". */
static bool root_is_mounted_read_only(void) {
    char line[4096], point[1024], options[1024];
    bool read_only = false;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file) return false;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %*s %*s %*s %1023s %1023s", point, options) == 2 && !strcmp(point, "/"))
            read_only = !strncmp(options, "ro", 2) && (!options[2] || options[2] == ',');
    fclose(file);
    return read_only;
}

static void look_at_root(void) {
    struct statvfs fs;
    bool known = statvfs("/", &fs) == 0, read_only = known && (fs.f_flag & ST_RDONLY);
    if (known && !read_only && on_gvisor) read_only = root_is_mounted_read_only(); /* gVisor leaves the flag out */
    finding("root", "read-only", known ? (read_only ? "read-only" : "writable") : NULL, read_only);
}

static bool in_list(const char *list, const char *item) {
    size_t n = strlen(item);
    for (const char *p = list; *p; p += strcspn(p, ":"), p += *p == ':')
        if (strcspn(p, ":") == n && !strncmp(p, item, n)) return true;
    return false;
}

/* null, zero, full, random, urandom, and a process's own terminal: writable, and no place to put anything. Engines also mask
 * files of /proc by mounting /dev/null over them. */
static bool is_harmless_device(const char *path) {
    struct stat st;
    if (stat(path, &st) || !S_ISCHR(st.st_mode)) return false;
    unsigned kind = major(st.st_rdev), which = minor(st.st_rdev);
    return (kind == 1 && (which == 3 || which == 5 || which == 7 || which == 8 || which == 9)) || (kind == 5 && which == 0);
}

/* nvidia0, nvidia1, …: one GPU each. */
static bool is_gpu(const char *name) {
    return !strncmp(name, "nvidia", 6) && name[6] && strspn(name + 6, "0123456789") == strlen(name + 6);
}

/* What Apptainer mounts for a job that has a GPU: the driver's devices, libraries and tools. */
static bool is_the_drivers(const char *point, bool read_only) {
    struct stat st;
    if (!strncmp(point, "/dev/nvidia", 11)) return !stat(point, &st) && S_ISCHR(st.st_mode);
    return read_only && (!strcmp(point, "/.singularity.d/libs") || !strncmp(point, "/.singularity.d/libs/", 21) || !strncmp(point, "/usr/bin/nvidia-", 16));
}

/* Where a runtime mounts something of its own: read-only, or not for us to write to. What only looks like it is none. */
static bool is_the_runtimes(const char *point, const char *kind, bool read_only) {
    static const char *below[] = {"/proc/", "/sys/"}, *kinds[] = {"proc ", "sysfs ", "tmpfs ", "cgroup ", "cgroup2 "};
    if (!strcmp(point, "/") || is_harmless_device(point)) return true; /* the root has a finding of its own */
    if (in_list("/dev/mqueue", point)) return !strncmp(kind, "mqueue ", 7);
    if (in_list("/etc/hosts:/etc/hostname:/etc/resolv.conf:/.livinglab/launcher:/.livinglab/begin", point)) return read_only || access(point, W_OK);
    if (in_list("/.livinglab/closed:/.livinglab/closed/words", point)) return access(point, R_OK) && access(point, W_OK); /* not for us at all */
    bool known = in_list("/proc:/sys:/dev:/dev/pts:/sys/fs/cgroup", point);
    for (int i = 0; i < 2 && !known; i++)
        for (int k = 0; k < 5; k++)
            known = known || (!strncmp(point, below[i], strlen(below[i])) && !strncmp(kind, kinds[k], strlen(kinds[k])));
    return known && (read_only || access(point, W_OK));
}

/* Every mount must be one that was asked for, or the runtime's. That we may not write to a mount's own folder proves
 * nothing: there may be others in it. */
static void look_at_mounts(const char *writable, const char *readable, bool gpus) {
    char demanded[2048], seen[1024] = "";
    bool holds = true;
    snprintf(demanded, sizeof demanded, "writable %s, readable %s", writable, readable);
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file) { finding("mounts", demanded, NULL, false); return; }
    char line[4096];
    while (fgets(line, sizeof line, file)) {
        char point[1024], options[1024];
        if (sscanf(line, "%*s %*s %*s %*s %1023s %1023s", point, options) != 2) continue;
        const char *kind = strstr(line, " - ");
        bool read_only = !strncmp(options, "ro", 2);
        if (kind && is_the_runtimes(point, kind + 3, read_only)) continue;
        if (gpus && is_the_drivers(point, read_only)) continue;
        if (!in_list(writable, point) && !(read_only && in_list(readable, point))) holds = false;
        size_t at = strlen(seen);
        if (at < sizeof seen - 256) snprintf(seen + at, sizeof seen - at, "%s%.200s %s", at ? ", " : "", point, read_only ? "ro" : "rw");
    }
    fclose(file);
    finding("mounts", demanded, seen, holds);
}

static void look_at_user(const char *uid, const char *gid) {
    uid_t r, e, s; gid_t rg, eg, sg, groups[64];
    char seen[256], demanded[64], map[96] = "";
    snprintf(demanded, sizeof demanded, "%s:%s", uid, gid);
    int count = getgroups(64, groups);
    if (getresuid(&r, &e, &s) || getresgid(&rg, &eg, &sg) || count < 0) { finding("user", demanded, NULL, false); return; }
    uid_t u = (uid_t)strtoul(uid, NULL, 10); gid_t g = (gid_t)strtoul(gid, NULL, 10);
    bool holds = u && r == u && e == u && s == u && rg == g && eg == g && sg == g;
    for (int i = 0; i < count; i++) if (groups[i] != g) holds = false;
    if (read_file("/proc/self/uid_map", map, sizeof map)) map[strcspn(map, "\n")] = 0;
    snprintf(seen, sizeof seen, "%u:%u, %d groups, uid_map%s", (unsigned)e, (unsigned)eg, count, map);
    finding("user", demanded, seen, holds);
}

static void look_at_privileges(void) {
    static const char *sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
    char value[64], seen[256] = "";
    bool known = false, none = true;
    for (int i = 0; i < 5; i++) {
        if (!status_field(sets[i], value, sizeof value)) continue;
        known = true;
        if (strspn(value, "0") != strlen(value)) none = false;
        size_t n = strlen(seen);
        snprintf(seen + n, sizeof seen - n, "%s%s %s", n ? ", " : "", sets[i], value);
    }
    finding("capabilities", "none", known ? seen : NULL, none);
    const char *nnp = status_field("NoNewPrivs:", value, sizeof value);
    finding("no_new_privileges", "1", nnp, nnp && !strcmp(nnp, "1"));
    const char *seccomp = status_field("\nSeccomp:", value, sizeof value);
    if (on_gvisor && seccomp && !strcmp(seccomp, "0")) seccomp = NULL; /* its filter is around its own kernel, not around us */
    finding("seccomp", "2 (filter)", seccomp, seccomp && !strcmp(seccomp, "2"));
}

static void look_at_memory(const char *memory) {
    char seen[160], swaps[1024] = "";
    int64_t limit = least("memory", "memory.limit_in_bytes", "memory.max", read_number), asked = strtoll(memory, NULL, 10);
    int64_t both = least("memory", "memory.memsw.limit_in_bytes", NULL, read_number), swap = least("memory", NULL, "memory.swap.max", read_number);
    bool no_swap_device = read_file("/proc/swaps", swaps, sizeof swaps) && !(strchr(swaps, '\n') && strchr(swaps, '\n')[1]);
    bool no_swap = (both >= 0 && both <= asked) || swap == 0 || no_swap_device;
    snprintf(seen, sizeof seen, "%lld bytes, swap %s", (long long)limit, no_swap ? "none" : "beyond it");
    finding("memory", memory, limit >= 0 ? seen : NULL, limit <= asked && no_swap);
}

/* A quota, or else a set of whole cores: of those there may be as many as the demand has, rounded up. */
static void look_at_cpu(const char *cpu) {
    char seen[160];
    int64_t quota = least("cpu", "cpu.cfs_quota_us", "cpu.max", read_quota), asked = strtoll(cpu, NULL, 10);
    if (quota >= 0 && quota <= asked + 1) {
        snprintf(seen, sizeof seen, "%lld thousandths of a core", (long long)quota);
        finding("cpu", cpu, seen, true);
        return;
    }
    int64_t cores = least("cpuset", "cpuset.cpus", "cpuset.cpus.effective", read_list);
    bool known = quota != NONE || cores != NONE;
    if (cores != NONE && cores != INT64_MAX) snprintf(seen, sizeof seen, "a set of %lld cores, no quota within the demand", (long long)cores);
    else snprintf(seen, sizeof seen, "%lld thousandths of a core", (long long)quota);
    finding("cpu", cpu, known ? seen : NULL, cores != NONE && cores <= (asked + 999) / 1000);
}

static void look_at_pids(const char *pids, bool bound_here) {
    char seen[64];
    int64_t most = least("pids", "pids.max", "pids.max", read_number), asked = strtoll(pids, NULL, 10);
    if (bound_here && (most == NONE || most > asked)) {
        struct rlimit limit = {(rlim_t)asked, (rlim_t)asked};
        bool holds = asked > 0 && !setrlimit(RLIMIT_NPROC, &limit) && !getrlimit(RLIMIT_NPROC, &limit) && limit.rlim_max == (rlim_t)asked;
        snprintf(seen, sizeof seen, "%lld", (long long)limit.rlim_max);
        finding_by("rlimit", "pids", pids, seen, holds);
        return;
    }
    snprintf(seen, sizeof seen, "%lld", (long long)most);
    finding("pids", pids, most >= 0 ? seen : NULL, most <= asked);
}

static void look_at_environment(void) {
    static const char *harmless[] = {"PATH", "HOSTNAME", "HOME", "TERM", "container", "PWD", "LANG", "PS1", "PROMPT_COMMAND", "LD_LIBRARY_PATH", NULL};
    static const char *prefixes[] = {"APPTAINER_", "SINGULARITY_", "KUBERNETES_", NULL};
    char seen[1024] = "";
    bool holds = true;
    for (char **e = environ; *e; e++) {
        size_t n = strcspn(*e, "=");
        bool known = false;
        for (const char **h = harmless; *h; h++) known = known || (strlen(*h) == n && !strncmp(*h, *e, n));
        for (const char **p = prefixes; *p; p++) known = known || !strncmp(*p, *e, strlen(*p));
        if (!known) holds = false;
        size_t at = strlen(seen); /* names only: a value might be a secret */
        snprintf(seen + at, sizeof seen - at, "%s%.*s", at ? " " : "", (int)n, *e);
    }
    finding("environment", "nothing but the runtime's own", seen, holds);
}

static bool is_denied(const char *path) {
    static const int modes[] = {O_RDONLY, O_WRONLY};
    for (int i = 0; i < 2; i++) {
        int fd = open(path, modes[i] | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0) close(fd);
        if (fd >= 0 || (errno != EPERM && errno != EACCES)) return false;
    }
    return true;
}

/* A node's other GPUs may be seen here, and must not be opened. */
static void look_at_gpus(const char *gpus) {
    DIR *devices = opendir("/dev");
    int there = 0, open_to_us = 0;
    bool others = false;
    char seen[128], path[300];
    if (!devices && errno != ENOENT) { finding("gpus", gpus, NULL, false); return; }
    for (struct dirent *entry; devices && (entry = readdir(devices));) {
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        if (is_gpu(entry->d_name)) { there++; open_to_us += !is_denied(path); }
        if (!strcmp(entry->d_name, "dri") || !strcmp(entry->d_name, "kfd")) others = true;
    }
    if (devices) closedir(devices);
    snprintf(seen, sizeof seen, "%d open of %d%s", open_to_us, there, others ? ", and devices of another kind" : "");
    finding("gpus", gpus, seen, open_to_us == atoi(gpus) && !others);
}

/* gVisor's kernel log begins with its name. Linux shows its own to nobody who is confined as we are. */
static bool runs_on_gvisor(void) {
    static char ring[1 << 16];
    int n = klogctl(3, ring, sizeof ring - 1);
    if (n <= 0) return false;
    ring[n] = 0;
    return strstr(ring, "gVisor") != NULL;
}

/* --- going on ------------------------------------------------------------------------------------------------------- */

static void misuse(const char *what, const char *which) {
    fprintf(stderr, "livinglab-launcher: %s%s\n", what, which);
    exit(MISUSE);
}

static size_t parse_nonce(const char *hex, uint8_t *key, size_t most) {
    size_t n = strlen(hex);
    if (n < 32 || n % 2 || n / 2 > most || strspn(hex, "0123456789abcdef") != n) misuse("a nonce is 32 to 128 lower-case hexadecimal digits", "");
    for (size_t i = 0; i < n / 2; i++) sscanf(hex + 2 * i, "%2hhx", &key[i]);
    return n / 2;
}

/* Until the other end of standard input is closed; the command gets an empty one. */
static void wait_for_the_word(void) {
    char byte;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &byte, 1)) > 0 || (n < 0 && errno == EINTR)) {}
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0) exit(REFUSED);
    if (null != STDIN_FILENO) close(null);
}

/* The command holds the pipe open, and so does a child that does nothing else: whether the command closes all that it was given or kills all
 * that it sees, the pipe is open as long as the container is there. The child sends no signal when it ends, so that no waiting of the command's
 * knows it; and nobody may look into it, where the nonce still is. */
static void hold_open(const char *path) {
    int held = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;
    if (held < 0 || fstat(held, &st) || !S_ISFIFO(st.st_mode)) return; /* the lab finds out by itself, later */
    fcntl(held, F_SETFD, 0);
    prctl(PR_SET_DUMPABLE, 0);
    long child = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    if (child) return; /* where there can be no child, the command does it alone */
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (int fd = 0; fd < 3; fd++) close(fd);
    for (;;) pause();
}

/* The command is first in a session and a process group of its own, which are its whole container's: a signal to its own group would go to
 * all of that group, and where a runtime leaves it in that of whoever started it, beyond the container, through any namespace. */
static void leave_group(void) {
    if (setsid() < 0 && getsid(0) != getpid()) {
        fputs("livinglab-launcher: no session of its own\n", stderr);
        exit(REFUSED);
    }
}

static void write_all(const char *text, size_t size) {
    while (size) {
        ssize_t n = write(STDOUT_FILENO, text, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) exit(REFUSED); /* a report that cannot be given was not given */
        text += n; size -= (size_t)n;
    }
}

static void write_report(const uint8_t *key, size_t key_size) {
    static char line[REPORT_MAX + 128];
    uint8_t mac[32];
    char hex[65];
    hmac(key, key_size, report, mac);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", mac[i]);
    int n = snprintf(line, sizeof line, "livinglab-launcher/" VERSION " %s %s\n", report, hex);
    write_all(line, (size_t)n);
}

int main(int argc, char **argv) {
    static const char *names[] = {"uid", "gid", "memory", "cpu", "pids", "writable", "readable", "gpus"};
    const char *values[8] = {0}, *nonce = NULL, *begin = NULL;
    uint8_t key[64];
    bool bound_here = false, wait = false;
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--wait")) { wait = true; continue; }
        if (i + 1 >= argc) misuse("no value after ", argv[i]);
        if (!strcmp(argv[i], "--nonce")) nonce = argv[++i];
        else if (!strcmp(argv[i], "--begin")) begin = argv[++i];
        else if (!strcmp(argv[i], "--rlimit")) {
            if (strcmp(argv[++i], "pids")) misuse("no limit of its own for ", argv[i]);
            bound_here = true;
        }
        else if (!strcmp(argv[i], "--hidden")) {
            if (hidden_count == 16) misuse("too many ", argv[i]);
            hidden[hidden_count++] = argv[++i];
        }
        else if (!strcmp(argv[i], "--expect")) {
            const char *pair = argv[++i], *equals = strchr(pair, '=');
            int k = 0;
            while (k < 8 && !(equals && (size_t)(equals - pair) == strlen(names[k]) && !strncmp(names[k], pair, strlen(names[k])))) k++;
            if (k == 8) misuse("unknown demand ", pair);
            values[k] = equals + 1;
        } else misuse("unknown option ", argv[i]);
    }
    for (int k = 0; k < 8; k++) if (!values[k]) misuse("missing demand ", names[k]);
    if (!nonce) misuse("missing ", "--nonce");
    if (i + 1 >= argc) misuse("no command after --", "");
    size_t key_size = parse_nonce(nonce, key, sizeof key);
    if (!read_file("/proc/self/status", status, sizeof status)) status[0] = 0;

    leave_group();
    dup2(STDOUT_FILENO, STDERR_FILENO); /* two streams are read by two readers: what comes first on one may be logged after the other */
    on_gvisor = runs_on_gvisor();
    put("{\"launcher\":\"" VERSION "\",\"nonce\":\"%s\",\"runtime\":\"%s\",\"findings\":[", nonce, on_gvisor ? "gvisor" : "linux");
    look_at_network();
    look_at_root();
    look_at_mounts(values[5], values[6], atoi(values[7]) > 0);
    look_at_user(values[0], values[1]);
    look_at_privileges();
    look_at_memory(values[2]);
    look_at_cpu(values[3]);
    look_at_pids(values[4], bound_here);
    look_at_environment();
    look_at_gpus(values[7]);
    put("]}");
    write_report(key, key_size);
    if (wait) wait_for_the_word();
    if (failed) return REFUSED;

    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    char *clean[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "PYTHONPATH=/opt/lib:/app", "PYTHONDONTWRITEBYTECODE=1",
                            atoi(values[7]) ? "LD_LIBRARY_PATH=/.singularity.d/libs" : NULL, NULL};
    environ = clean;
    if (begin) {
        for (int k = 1; k < i; k++) if (argv[k] != begin) memset(argv[k], 0, strlen(argv[k])); /* anybody may read them of a child */
        hold_open(begin);
    }
    execvpe(argv[i + 1], argv + i + 1, clean);
    fprintf(stderr, "livinglab-launcher: cannot execute %s: %s\n", argv[i + 1], strerror(errno));
    return NOT_EXECUTED;
}
