// Tests a layer_norm and a conv2d in JavaScript against golden gradients, without a library:
//     oracle vectors write golden layer_norm conv2d && node golden.js golden
// With a second argument, `planted`, both backward passes have a mistake, which must be found. Replace both functions by yours.
"use strict";
const fs = require("fs"), path = require("path");
const [folder = ".", planted = ""] = process.argv.slice(2);
let tested = 0, wrong = 0;

// The cases of an op, each with `get`, which gives a tensor of the file as {data, shape}, or undefined.
function read(op) {
  const about = JSON.parse(fs.readFileSync(path.join(folder, `${op}.json`), "utf8"));
  const bytes = fs.readFileSync(path.join(folder, about.file)), start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  const tensor = (name) => {
    if (!(name in header)) return undefined;
    const { dtype, shape, data_offsets: [begin, end] } = header[name];
    if (dtype !== "F64") throw new Error(`${name} has dtype ${dtype}`);
    return { data: Float64Array.from({ length: (end - begin) / 8 }, (_, i) => bytes.readDoubleLE(start + begin + 8 * i)), shape };
  };
  return about.cases.map((one, k) => ({ ...one, op, k, get: (name) => tensor(`${k}/${name}`) }));
}

function compare(one, name, ours) {
  const theirs = one.get(name), { tolerance } = one.tensors.find((t) => t.name === `${one.k}/${name}`) ?? {};
  if (theirs === undefined) return;
  tested++;
  const i = theirs.data.findIndex((value, j) => !(Math.abs(ours[j] - value) <= tolerance));
  if (i < 0) return;
  wrong++;
  console.log(`${one.op} / ${one.name}: ${name}: entry ${i} is ${ours[i]}, must be ${theirs.data[i]} +- ${tolerance}`);
}

function layer_norm(one) {
  const { data: x, shape } = one.get("argument/x"), dy = one.get("cotangent").data;
  const gamma = one.get("argument/params.gamma")?.data, beta = one.get("argument/params.beta")?.data;
  const { eps = 1e-5, axes = -1 } = one.options, normed = [axes].flat().map((a) => (a + shape.length) % shape.length);
  const rows = new Map(), column = new Int32Array(x.length); // the entries that are normalized together; their parameters
  for (let i = 0; i < x.length; i++) {
    let rest = i, size = x.length, row = 0;
    shape.forEach((length, d) => {
      const at = Math.floor(rest / (size /= length));
      rest %= size;
      if (normed.includes(d)) column[i] = column[i] * length + at;
      else row = row * length + at;
    });
    rows.set(row, [...(rows.get(row) ?? []), i]);
  }
  const [y, h, dx] = [0, 1, 2].map(() => new Float64Array(x.length));
  const dgamma = new Float64Array(gamma?.length ?? x.length), dbeta = new Float64Array(beta?.length ?? x.length);
  const mean = (where, of) => where.reduce((sum, i) => sum + of(i), 0) / where.length;
  for (const where of rows.values()) {
    const m = mean(where, (i) => x[i]), sigma = Math.sqrt(mean(where, (i) => (x[i] - m) ** 2) + eps);
    for (const i of where) {
      const g = gamma?.[column[i]] ?? 1;
      h[i] = (x[i] - m) / sigma;
      y[i] = g * h[i] + (beta?.[column[i]] ?? 0);
      dx[i] = g * dy[i];
      dgamma[column[i]] += dy[i] * h[i];
      dbeta[column[i]] += dy[i];
    }
    const m1 = mean(where, (i) => dx[i]), m2 = planted ? 0 : mean(where, (i) => dx[i] * h[i]); // the path through the variance
    for (const i of where) dx[i] = (dx[i] - m1 - h[i] * m2) / sigma;
  }
  compare(one, "value", y), compare(one, "gradient/x", dx);
  compare(one, "gradient/params.gamma", dgamma), compare(one, "gradient/params.beta", dbeta);
}

function conv2d(one) {
  const { data: x, shape: X } = one.get("argument/x"), { data: w, shape: W } = one.get("argument/params.w");
  const b = one.get("argument/params.b")?.data, dy = one.get("cotangent").data, Y = one.get("value").shape;
  const { stride = 1, dilation = 1, padding = 0, groups = 1 } = one.options, both = (v) => [v, v].flat().slice(0, 2);
  const s = Array.isArray(stride) ? stride : both(stride), d = Array.isArray(dilation) ? dilation : both(dilation);
  const lacking = (a) => Math.max((Y[2 + a] - 1) * s[a] + (W[2 + a] - 1) * d[a] + 1 - X[2 + a], 0);
  const pairs = Array.isArray(padding) ? padding : both(padding); // of numbers, or of [before, after]
  const before = padding === "SAME" ? [0, 1].map((a) => Math.floor(lacking(a) / 2)) : pairs.map((p) => [p].flat()[0]);
  const [y, dx, dw, db] = [dy, x, w, b ?? w].map((like) => new Float64Array(like.length)), size = W[1] * W[2] * W[3];
  for (let i = 0; i < dy.length; i++) {
    const v = i % Y[3], u = Math.floor(i / Y[3]) % Y[2], o = Math.floor(i / Y[3] / Y[2]) % Y[1], n = Math.floor(i / Y[3] / Y[2] / Y[1]);
    y[i] = b?.[o] ?? 0;
    db[o] += dy[i];
    for (let j = 0; j < size; j++) {
      const c = Math.floor(j / W[3] / W[2]) + Math.floor(o / (W[0] / groups)) * W[1];
      const r = u * s[0] + (Math.floor(j / W[3]) % W[2]) * d[0] - before[0], q = v * s[1] + (j % W[3]) * d[1] - before[1];
      if (r < 0 || q < 0 || r >= X[2] || q >= X[3]) continue;
      const at = ((n * X[1] + c) * X[2] + r) * X[3] + q;
      y[i] += x[at] * w[o * size + j];
      dx[at] += dy[i] * w[o * size + j];
      dw[o * size + j] = dy[i] * x[at] + (planted ? 0 : dw[o * size + j]); // overwritten where it must accumulate
    }
  }
  compare(one, "value", y), compare(one, "gradient/x", dx);
  compare(one, "gradient/params.w", dw), compare(one, "gradient/params.b", db);
}

read("layer_norm").forEach(layer_norm);
read("conv2d").forEach(conv2d);
console.log(`${tested} tensors tested, ${wrong} wrong`);
process.exitCode = wrong > 0 || tested === 0 ? 1 : 0;
