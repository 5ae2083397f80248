// sRGB (IEC 61966-2-1) and CIE Lab (D65), with the numbers of colorize_core/color.py. Lab is [L, a, b], with L in
// [0, 100]; a color is #rrggbb.
"use strict";

const XYZ = [[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]];
const RGB = [[3.240479, -1.53715, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]];
const WHITE = XYZ.map((row) => row[0] + row[1] + row[2]);
const NEUTRAL = 5; // CIE units: less chroma has no name

const times = (matrix, vector) => matrix.map((row) => row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2]);

function labOf(levels) {
  const linear = Array.from(levels, (level) => {
    const v = level / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  const [x, y, z] = times(XYZ, linear).map((value, i) => {
    const t = value / WHITE[i];
    return t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116;
  });
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

// Linear light, beyond [0, 1] where sRGB has no such color.
function linearOf([L, a, b]) {
  const y = (L + 16) / 116;
  const xyz = [y + a / 500, y, y - b / 200].map(
    (f, i) => WHITE[i] * (f > 0.206893 ? f ** 3 : (f - 16 / 116) / 7.787));
  return times(RGB, xyz);
}

const exists = (lab) => linearOf(lab).every((v) => v > -0.0005 && v < 1.0005);

function levelsOf(lab) {
  return linearOf(lab).map((v) => {
    const within = Math.min(1, Math.max(0, v));
    return Math.round(255 * (within <= 0.0031308 ? within * 12.92 : 1.055 * within ** (1 / 2.4) - 0.055));
  });
}

const colorOf = (lab) => `#${levelsOf(lab).map((level) => level.toString(16).padStart(2, "0")).join("")}`;
const levelsIn = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

// The most chroma that there is of a hue, in radians, at a lightness.
function mostChroma(L, hue) {
  let low = 0, high = 140;
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2;
    if (exists([L, middle * Math.cos(hue), middle * Math.sin(hue)])) low = middle;
    else high = middle;
  }
  return low;
}

// The nearest that there is in its own hue.
function fitting([L, a, b]) {
  const chroma = Math.hypot(a, b), hue = Math.atan2(b, a), most = mostChroma(L, hue);
  return chroma <= most ? [L, a, b] : [L, most * Math.cos(hue), most * Math.sin(hue)];
}

const HUES = [[20, "pink"], [50, "red"], [78, "orange"], [110, "yellow"], [170, "green"], [225, "turquoise"],
  [292, "blue"], [330, "violet"], [360, "pink"]];

function nameOf([L, a, b]) {
  const shade = L < 35 ? "dark " : L > 75 ? "light " : "", chroma = Math.hypot(a, b);
  if (chroma < NEUTRAL) return L < 12 ? "black" : L > 92 ? "white" : `${shade}grey`;
  const degrees = ((Math.atan2(b, a) * 180) / Math.PI + 360) % 360;
  const hue = HUES.find(([end]) => degrees < end)[1];
  if ((hue === "orange" || hue === "yellow") && L < 55) return hue === "orange" ? `${shade}brown` : `${shade}olive`;
  return `${shade}${chroma < 18 ? "greyish " : ""}${hue}`;
}
