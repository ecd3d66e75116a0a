// Tests a layer_norm and a conv2d in Rust against golden gradients, without a library:
//     oracle vectors write golden layer_norm conv2d && rustc --edition 2021 -O golden.rs && ./golden golden
// With a second argument, `planted`, both backward passes have a mistake, which must be found. Replace both functions by yours.
use std::{env, fs, process};
struct Tensor { v: Vec<f64>, shape: Vec<i64> }
struct Op { name: String, json: String, header: String, data: Vec<u8>, planted: bool, tested: usize, wrong: usize }
fn numbers(text: &str, ends: &[char]) -> Vec<f64> { // up to a character that ends them
    let part = &text[..text.find(ends).unwrap_or(text.len())];
    part.split(|c: char| !c.is_ascii_digit() && !"+-.e".contains(c)).filter_map(|word| word.parse().ok()).collect()
}
impl Op {
    fn read(folder: &str, name: &str, planted: bool) -> Op {
        let bytes = fs::read(format!("{folder}/{name}.safetensors")).expect(name);
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let (header, json) = (String::from_utf8(bytes[8..start].to_vec()), fs::read_to_string(format!("{folder}/{name}.json")));
        Op { name: name.into(), json: json.unwrap(), header: header.unwrap(), data: bytes[start..].to_vec(), planted, tested: 0, wrong: 0 }
    }
    fn get(&self, k: usize, name: &str) -> Option<Tensor> { // "0/gradient/x":{"dtype":"F64","shape":[3,5],"data_offsets":[0,120]}
        let about = self.header.split_once(&format!("\"{k}/{name}\":{{"))?.1;
        let at = numbers(about.split_once("\"data_offsets\":[")?.1, &[']']);
        let v = self.data[at[0] as usize..at[1] as usize].chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
        Some(Tensor { v, shape: numbers(about.split_once("\"shape\":[")?.1, &[']']).iter().map(|&n| n as i64).collect() })
    }
    fn option(&self, k: usize, key: &str) -> Option<&str> {
        Some(self.json.split("\"options\":").nth(k + 1)?.split("\"flags\":").next()?.split_once(&format!("\"{key}\":"))?.1.trim_start())
    }
    fn all(&self, k: usize, key: &str) -> Vec<f64> { self.option(k, key).map_or(vec![], |text| numbers(text, &['"', '}'])) }
    fn both(&self, k: usize, key: &str, or: f64) -> [f64; 2] {
        let n = self.all(k, key); match n.len() { 0 => [or, or], 1 => [n[0], n[0]], 2 => [n[0], n[1]], _ => [n[0], n[2]] }
    }
    fn compare(&mut self, k: usize, found: &[(&str, Vec<f64>)]) {
        for (name, ours) in found {
            let Some(theirs) = self.get(k, name) else { continue };
            let about = self.json.split_once(&format!("\"name\": \"{k}/{name}\"")).unwrap().1;
            let tolerance = numbers(about.split_once("\"tolerance\":").unwrap().1, &[','])[0];
            let miss = (0..theirs.v.len()).find(|&i| !((ours[i] - theirs.v[i]).abs() <= tolerance));
            (self.tested, self.wrong) = (self.tested + 1, self.wrong + miss.is_some() as usize);
            let Some(i) = miss else { continue };
            println!("{}: {k}/{name}: entry {i} is {}, must be {} +- {tolerance:e}", self.name, ours[i], theirs.v[i]);
        }
    }
    fn layer_norm(&mut self, k: usize) {
        let (x, dy, axes) = (self.get(k, "argument/x").unwrap(), self.get(k, "cotangent").unwrap().v, self.all(k, "axes"));
        let [g, b] = ["gamma", "beta"].map(|name| self.get(k, &format!("argument/params.{name}")));
        let (n, dims, eps) = (x.v.len(), x.shape.len() as i64, self.both(k, "eps", 1e-5)[0]);
        let normed = |d: usize| d as i64 == dims - 1 && axes.is_empty() || axes.iter().any(|&a| (a as i64).rem_euclid(dims) == d as i64);
        let (mut row, mut col) = (vec![0; n], vec![0; n]); // the place of an entry among the other axes, and among the normed
        for i in 0..n {
            x.shape.iter().enumerate().fold((i, n), |(rest, size), (d, &length)| {
                let (of, size) = (if normed(d) { &mut col[i] } else { &mut row[i] }, size / length as usize);
                *of = *of * length as usize + rest / size; (rest % size, size)
            });
        }
        let [mut y, mut h, mut dx, mut dg, mut db] = [(); 5].map(|_| vec![0.0; n + 99]); // long enough for parameters of no rows
        for r in 0..row.last().map_or(0, |last| last + 1) {
            let at: Vec<usize> = (0..n).filter(|&i| row[i] == r).collect();
            let mean = |of: &dyn Fn(usize) -> f64| at.iter().map(|&i| of(i)).sum::<f64>() / at.len() as f64;
            let (m, gamma) = (mean(&|i| x.v[i]), |i: usize| g.as_ref().map_or(1.0, |g| g.v[col[i]]));
            let sigma = (mean(&|i| (x.v[i] - m).powi(2)) + eps).sqrt(); at.iter().for_each(|&i| h[i] = (x.v[i] - m) / sigma);
            let (m1, m2) = (mean(&|i| gamma(i) * dy[i]), mean(&|i| gamma(i) * dy[i] * h[i]));
            for &i in &at {
                y[i] = gamma(i) * h[i] + b.as_ref().map_or(0.0, |b| b.v[col[i]]);
                dx[i] = (gamma(i) * dy[i] - m1 - if self.planted { 0.0 } else { h[i] * m2 }) / sigma; // planted: a path is lost
                (dg[col[i]], db[col[i]]) = (dg[col[i]] + dy[i] * h[i], db[col[i]] + dy[i]);
            }
        }
        self.compare(k, &[("value", y), ("gradient/x", dx), ("gradient/params.gamma", dg), ("gradient/params.beta", db)]);
    }
    fn conv2d(&mut self, k: usize) {
        let [x, w, dy] = ["argument/x", "argument/params.w", "cotangent"].map(|name| self.get(k, name).unwrap());
        let ((xs, ws, ys), b) = ((&x.shape, &w.shape, &dy.shape), self.get(k, "argument/params.b"));
        let (s, d, mut before) = (self.both(k, "stride", 1.0), self.both(k, "dilation", 1.0), self.both(k, "padding", 0.0));
        let ends = |a: usize| (ys[2 + a] - 1) as f64 * s[a] + (ws[2 + a] - 1) as f64 * d[a] + 1.0 - xs[2 + a] as f64;
        if self.option(k, "padding").is_some_and(|text| text.starts_with("\"SAME\"")) { before = [0, 1].map(|a| (ends(a).max(0.0) / 2.0).floor()) }
        let (mut y, mut dx, size) = (vec![0.0; dy.v.len()], vec![0.0; x.v.len()], ws[1] * ws[2] * ws[3]);
        let (mut dw, mut db, groups) = (vec![0.0; w.v.len()], vec![0.0; ws[0] as usize], self.both(k, "groups", 1.0)[0] as i64);
        for i in 0..dy.v.len() {
            let (v, u, at) = (i as i64 % ys[3], i as i64 / ys[3] % ys[2], i as i64 / ys[3] / ys[2]); let (o, n) = (at % ys[1], at / ys[1]);
            (y[i], db[o as usize]) = (b.as_ref().map_or(0.0, |b| b.v[o as usize]), db[o as usize] + dy.v[i]);
            for j in 0..size {
                let c = j / ws[3] / ws[2] + o / (ws[0] / groups) * ws[1];
                let r = u * s[0] as i64 + j / ws[3] % ws[2] * d[0] as i64 - before[0] as i64;
                let q = v * s[1] as i64 + j % ws[3] * d[1] as i64 - before[1] as i64; if r < 0 || q < 0 || r >= xs[2] || q >= xs[3] { continue; }
                let (at, of) = ((((n * xs[1] + c) * xs[2] + r) * xs[3] + q) as usize, (o * size + j) as usize);
                (y[i], dx[at]) = (y[i] + x.v[at] * w.v[of], dx[at] + dy.v[i] * w.v[of]);
                dw[of] = dy.v[i] * x.v[at] + if self.planted { 0.0 } else { dw[of] }; // planted: overwritten, not accumulated
            }
        }
        self.compare(k, &[("value", y), ("gradient/x", dx), ("gradient/params.w", dw), ("gradient/params.b", db)]);
    }
}
fn main() {
    let given: Vec<String> = env::args().collect(); // the folder, and `planted`
    let [mut norm, mut conv] = ["layer_norm", "conv2d"].map(|name| Op::read(&given[1], name, given.len() > 2));
    (0..norm.json.matches("\"options\":").count()).for_each(|k| norm.layer_norm(k));
    (0..conv.json.matches("\"options\":").count()).for_each(|k| conv.conv2d(k));
    let (tested, wrong) = (norm.tested + conv.tested, norm.wrong + conv.wrong);
    println!("{tested} tensors tested, {wrong} wrong");
    process::exit((wrong > 0 || norm.tested * conv.tested == 0) as i32);
}
