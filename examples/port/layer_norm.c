/* LayerNorm over the last of two axes, in float, as one would write it for a port. The backward pass has a mistake,
   unless it is compiled with -DMENDED. */

#include <math.h>

void layer_norm_forward(float *y, const float *x, const float *gamma, const float *beta, int rows, int width, float eps) {
    for (int n = 0; n < rows; n++) {
        const float *xn = x + n * width;
        float mean = 0, variance = 0;
        for (int i = 0; i < width; i++) mean += xn[i] / width;
        for (int i = 0; i < width; i++) variance += (xn[i] - mean) * (xn[i] - mean) / width;
        float r = 1 / sqrtf(variance + eps);
        for (int i = 0; i < width; i++) y[n * width + i] = gamma[i] * (xn[i] - mean) * r + beta[i];
    }
}

void layer_norm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *gamma, int rows,
                         int width, float eps) {
    for (int i = 0; i < width; i++) dgamma[i] = dbeta[i] = 0;
    for (int n = 0; n < rows; n++) {
        const float *xn = x + n * width, *dyn = dy + n * width;
        float mean = 0, variance = 0, sum = 0, product = 0;
        for (int i = 0; i < width; i++) mean += xn[i] / width;
        for (int i = 0; i < width; i++) variance += (xn[i] - mean) * (xn[i] - mean) / width;
        float r = 1 / sqrtf(variance + eps);
        for (int i = 0; i < width; i++) {
            float z = (xn[i] - mean) * r, dz = dyn[i] * gamma[i];
            sum += dz / width;
            product += dz * z / width;
#ifdef MENDED
            dgamma[i] += dyn[i] * z;
#else
            dgamma[i] = dyn[i] * z; /* the mistake: each row overwrites the one before */
#endif
            dbeta[i] += dyn[i];
        }
        for (int i = 0; i < width; i++) {
            float z = (xn[i] - mean) * r, dz = dyn[i] * gamma[i];
            dx[n * width + i] = r * (dz - sum - z * product);
        }
    }
}
