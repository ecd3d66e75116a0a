/* Kernels that compute in float32 alone, as kernels in C do: layer norm, GELU and attention, with their backward passes. */
#include <math.h>
#include <stdlib.h>

/* y = (x - mean) / sqrt(var + 1e-5) * w + b, for each of n rows of width d. */
void layer_norm(int n, int d, const float *x, const float *w, const float *b, float *y, float *mean, float *rstd) {
    for (int i = 0; i < n; i++) {
        float m = 0.0f, v = 0.0f;
        for (int j = 0; j < d; j++) m += x[i * d + j];
        m /= d;
        for (int j = 0; j < d; j++) v += (x[i * d + j] - m) * (x[i * d + j] - m);
        mean[i] = m;
        rstd[i] = 1.0f / sqrtf(v / d + 1e-5f);
        for (int j = 0; j < d; j++) y[i * d + j] = (x[i * d + j] - m) * rstd[i] * w[j] + b[j];
    }
}

/* `planted` is added to the factor of the third term of dx: 0 for the right gradient. */
void layer_norm_bwd(int n, int d, const float *x, const float *w, const float *mean, const float *rstd, const float *dy,
                    float *dx, float *dw, float *db, float planted) {
    for (int i = 0; i < n; i++) {
        float s = 0.0f, t = 0.0f;
        for (int j = 0; j < d; j++) {
            float h = (x[i * d + j] - mean[i]) * rstd[i], g = dy[i * d + j] * w[j];
            s += g;
            t += g * h;
            dw[j] += dy[i * d + j] * h;
            db[j] += dy[i * d + j];
        }
        for (int j = 0; j < d; j++) {
            float h = (x[i * d + j] - mean[i]) * rstd[i];
            dx[i * d + j] = (dy[i * d + j] * w[j] - s / d - h * t / d * (1.0f + planted)) * rstd[i];
        }
    }
}

/* The tanh form. */
void gelu(int n, const float *x, float *y) {
    for (int i = 0; i < n; i++) {
        float u = x[i] + 0.044715f * x[i] * x[i] * x[i];
        y[i] = 0.5f * x[i] * (1.0f + tanhf(0.7978845608f * u));
    }
}

void gelu_bwd(int n, const float *x, const float *dy, float *dx, float planted) {
    for (int i = 0; i < n; i++) {
        float t = tanhf(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
        float inner = 0.7978845608f * (1.0f + 3.0f * 0.044715f * (1.0f + planted) * x[i] * x[i]);
        dx[i] = dy[i] * (0.5f * (1.0f + t) + 0.5f * x[i] * (1.0f - t * t) * inner);
    }
}

/* y = softmax(q k^T / sqrt(d)) v for one head: n queries, m keys. `p` keeps the weights. */
void attention(int n, int m, int d, const float *q, const float *k, const float *v, float *y, float *p) {
    float scale = 1.0f / sqrtf((float)d);
    for (int i = 0; i < n; i++) {
        float most = -1e30f, sum = 0.0f;
        for (int j = 0; j < m; j++) {
            float z = 0.0f;
            for (int c = 0; c < d; c++) z += q[i * d + c] * k[j * d + c];
            p[i * m + j] = z * scale;
            if (p[i * m + j] > most) most = p[i * m + j];
        }
        for (int j = 0; j < m; j++) sum += p[i * m + j] = expf(p[i * m + j] - most);
        for (int j = 0; j < m; j++) p[i * m + j] /= sum;
        for (int c = 0; c < d; c++) {
            y[i * d + c] = 0.0f;
            for (int j = 0; j < m; j++) y[i * d + c] += p[i * m + j] * v[j * d + c];
        }
    }
}

void attention_bwd(int n, int m, int d, const float *q, const float *k, const float *v, const float *p, const float *dy,
                   float *dq, float *dk, float *dv, float planted) {
    float scale = 1.0f / sqrtf((float)d), *dp = malloc(m * sizeof(float));
    for (int i = 0; i < n; i++) {
        float t = 0.0f;
        for (int j = 0; j < m; j++) {
            dp[j] = 0.0f;
            for (int c = 0; c < d; c++) {
                dp[j] += dy[i * d + c] * v[j * d + c];
                dv[j * d + c] += p[i * m + j] * dy[i * d + c];
            }
            t += dp[j] * p[i * m + j];
        }
        for (int j = 0; j < m; j++) {
            float dz = p[i * m + j] * (dp[j] - t * (1.0f + planted)) * scale;
            for (int c = 0; c < d; c++) {
                dq[i * d + c] += dz * k[j * d + c];
                dk[j * d + c] += dz * q[i * d + c];
            }
        }
    }
    free(dp);
}
