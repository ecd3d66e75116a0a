/* Tests a layer_norm and a conv2d in C against golden gradients, without a library:
 *     oracle vectors write golden layer_norm conv2d && cc -O2 -o golden_c golden.c -lm && ./golden_c golden
 * With a second argument, `planted`, both backward passes have a mistake, which must be found. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { double *v; int n, dims, shape[8]; } Tensor; /* dims is -1 if the file has no such tensor */
static char *json, *data, *header;                           /* both files of the op */
static int planted, tested, wrong;

static double *zeros(int n) { return calloc(n + 1, sizeof(double)); }
static char *file(const char *folder, const char *name) {
  char path[4096]; snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb"); if (!f) { perror(path); exit(2); }
  fseek(f, 0, SEEK_END); long n = ftell(f); rewind(f);
  char *text = calloc(n + 1, 1); if (fread(text, 1, n, f) != (size_t)n) exit(2);
  return fclose(f), text;
}
static Tensor get(int k, const char *name) { /* "0/gradient/x":{"dtype":"F64","shape":[3,5],"data_offsets":[0,120]} */
  Tensor t = {0, 1, -1, {0}}; char key[256]; snprintf(key, sizeof key, "\"%d/%s\":{", k, name);
  char *p = strstr(header, key); if (!p) return t;
  for (p = strstr(p, "[") + 1, t.dims = 0; *p != ']'; p += *p == ',') t.n *= t.shape[t.dims++] = strtol(p, &p, 10);
  t.v = zeros(t.n), memcpy(t.v, data + strtol(strstr(p, "_offsets\":[") + 11, 0, 10), 8 * t.n);
  return t;
}
static int numbers(int k, const char *key, double *to) { /* of an option of case k: how many; -1 for a text */
  char *p = json, *end, quoted[64]; int n = 0; snprintf(quoted, sizeof quoted, "\"%s\":", key);
  for (int i = 0; i <= k; i++) p = strstr(p, "\"options\":") + 10;
  end = strstr(p, "\"flags\":"), p = strstr(p, quoted); if (!p || p > end) return 0;
  for (p += strlen(quoted); *p != '"' && *p != '}';) if (strchr("-0123456789", *p)) to[n++] = strtod(p, &p); else p++;
  return n || *p != '"' ? n : -1;
}
static void compare(const char *op, int k, const char *name, const double *ours) {
  Tensor t = get(k, name); char key[256]; if (t.dims < 0) return;
  snprintf(key, sizeof key, "\"name\": \"%d/%s\"", k, name);
  double tolerance = strtod(strstr(strstr(json, key), "\"tolerance\":") + 12, 0); tested++;
  for (int i = 0; i < t.n; i++) if (!(fabs(ours[i] - t.v[i]) <= tolerance)) {
    printf("%s: %d/%s: entry %d is %.17g, must be %.17g +- %g\n", op, k, name, i, ours[i], t.v[i], tolerance); wrong++; return; }
}
static void layer_norm(int k) {
  Tensor x = get(k, "argument/x"), g = get(k, "argument/params.gamma"), b = get(k, "argument/params.beta"), dy = get(k, "cotangent");
  double axes[8] = {-1}, eps = 1e-5, *y = zeros(x.n), *h = zeros(x.n), *dx = zeros(x.n), *dg = zeros(x.n + g.n), *db = zeros(x.n + b.n);
  int count = numbers(k, "axes", axes), *row = calloc(x.n + 1, sizeof(int)), *col = calloc(x.n + 1, sizeof(int));
  numbers(k, "eps", &eps);
  for (int i = 0; i < x.n; i++) /* its place among the axes, and among the others */
    for (int d = 0, size = x.n, rest = i; d < x.dims; d++) {
      int normed = 0, at = rest / (size /= x.shape[d]); rest %= size;
      for (int a = 0; a < (count ? count : 1); a++) normed |= (int)axes[a] == d || (int)axes[a] == d - x.dims;
      int *of = normed ? col : row; of[i] = of[i] * x.shape[d] + at;
    }
  for (int r = 0; x.n && r <= row[x.n - 1]; r++) {
    double n = 0, mean = 0, var = 0, m1 = 0, m2 = 0;
    for (int i = 0; i < x.n; i++) if (row[i] == r) n++, mean += x.v[i];
    for (int i = 0; i < x.n; i++) if (row[i] == r) h[i] = x.v[i] - mean / n, var += h[i] * h[i];
    double sigma = sqrt(var / n + eps);
    for (int i = 0; i < x.n; i++) if (row[i] == r) {
      double gamma = g.dims < 0 ? 1 : g.v[col[i]]; h[i] /= sigma, y[i] = gamma * h[i] + (b.dims < 0 ? 0 : b.v[col[i]]);
      dg[col[i]] += dy.v[i] * h[i]; db[col[i]] += dy.v[i]; dx[i] = gamma * dy.v[i]; m1 += dx[i] / n; m2 += dx[i] * h[i] / n;
    }
    for (int i = 0; i < x.n; i++) /* planted: the path through the variance is lost */
      if (row[i] == r) dx[i] = (dx[i] - m1 - (planted ? 0 : h[i] * m2)) / sigma;
  }
  compare("layer_norm", k, "value", y); compare("layer_norm", k, "gradient/x", dx);
  compare("layer_norm", k, "gradient/params.gamma", dg); compare("layer_norm", k, "gradient/params.beta", db);
}
static void conv2d(int k) {
  Tensor x = get(k, "argument/x"), w = get(k, "argument/params.w"), b = get(k, "argument/params.b"), y = get(k, "value"), dy = get(k, "cotangent");
  double s[8] = {1}, d[8] = {1}, p[8] = {0}, groups = 1, *out = zeros(y.n), *dx = zeros(x.n), *dw = zeros(w.n), *db = zeros(w.n);
  s[1] = numbers(k, "stride", s) < 2 ? s[0] : s[1], d[1] = numbers(k, "dilation", d) < 2 ? d[0] : d[1];
  int *X = x.shape, *W = w.shape, *Y = y.shape, n = numbers(k, "padding", p); numbers(k, "groups", &groups);
  double before[2] = {p[0], n == 4 ? p[2] : n == 2 ? p[1] : p[0]};
  for (int a = 0; a < 2 && n < 0; a++) /* "SAME": half of what the last window lacks, rounded down */
    before[a] = floor(fmax((Y[2 + a] - 1) * s[a] + (W[2 + a] - 1) * d[a] + 1 - X[2 + a], 0) / 2);
  for (int i = 0; i < y.n; i++) {
    int v = i % Y[3], u = i / Y[3] % Y[2], o = i / Y[3] / Y[2] % Y[1], m = i / Y[3] / Y[2] / Y[1], first = o / (W[0] / (int)groups) * W[1];
    out[i] = b.dims < 0 ? 0 : b.v[o]; db[o] += dy.v[i];
    for (int j = 0; j < W[1] * W[2] * W[3]; j++) {
      int c = j / W[3] / W[2], r = u * s[0] + j / W[3] % W[2] * d[0] - before[0], q = v * s[1] + j % W[3] * d[1] - before[1];
      if (r < 0 || q < 0 || r >= X[2] || q >= X[3]) continue;
      int at = ((m * X[1] + first + c) * X[2] + r) * X[3] + q, of = o * W[1] * W[2] * W[3] + j;
      out[i] += x.v[at] * w.v[of]; dx[at] += dy.v[i] * w.v[of];
      dw[of] = dy.v[i] * x.v[at] + (planted ? 0 : dw[of]); /* overwritten where it must accumulate */
    }
  }
  compare("conv2d", k, "value", out); compare("conv2d", k, "gradient/x", dx);
  compare("conv2d", k, "gradient/params.w", dw); compare("conv2d", k, "gradient/params.b", db);
}
static void each(const char *folder, const char *op, void (*test)(int)) {
  char name[256]; snprintf(name, sizeof name, "%s.json", op); json = file(folder, name);
  snprintf(name, sizeof name, "%s.safetensors", op); header = file(folder, name); data = header + 8 + *(long long *)header; header += 8;
  for (int k = 0; get(k, "cotangent").dims >= 0; k++) test(k);
}
int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : "."; planted = argc > 2;
  each(folder, "layer_norm", layer_norm), each(folder, "conv2d", conv2d);
  printf("%d tensors tested, %d wrong\n", tested, wrong);
  return wrong > 0 || !tested;
}
