// The memory calculator. The numbers of the models come with the page, from slmkit; what is computed here is held
// against slmkit by tests/site/test_calculator.py.
"use strict";

const { models, devices } = JSON.parse(document.getElementById("calc-data").textContent);
const field = name => document.getElementById(`calc-${name}`);
const DIMENSIONS = ["vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"];
const SETTINGS = ["context", "batch", "bits", "cache_bits", "logits_rows"];
const PARTS = ["weights", "cache", "logits"];
const MIB = 2 ** 20, GIB = 2 ** 30;
const round = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const whole = value => value.toLocaleString("en");

// A decoder with rotary positions, RMSNorm before attention and FFN, and no biases (slmkit's count_parameters).
function parameters(m) {
  const attention = m.d_model * m.head_dim * (2 * m.n_heads + 2 * m.n_kv_heads); // queries and output; keys and values
  const ffn = (m.gated ? 3 : 2) * m.d_model * m.d_ff;
  const norms = 2 * m.d_model;
  const embedding = (m.tied ? 1 : 2) * m.vocab_size * m.d_model;
  return m.n_layers * (attention + ffn + norms) + m.d_model + embedding;
}
const cachedNumbers = m => 2 * m.n_layers * m.n_kv_heads * m.head_dim; // of one token

function chosen() {
  if (field("model").value) return models[field("model").value];
  const m = Object.fromEntries(DIMENSIONS.map(name => [name, field(name).valueAsNumber]));
  Object.assign(m, { gated: field("gated").checked, tied: field("tied").checked });
  return { ...m, parameters: parameters(m), cached: cachedNumbers(m) };
}

// One line about the first thing that cannot be computed, or "".
function problem(m) {
  for (const name of [...(field("model").value ? [] : DIMENSIONS), ...SETTINGS]) {
    const input = field(name);
    if (!input.validity.valid) {
      const label = input.labels[0].textContent.trim();
      const range = `from ${whole(Number(input.min))} to ${whole(Number(input.max))}`;
      return `${label}: ${input.value || "nothing"} is not a ${input.step === "1" ? "whole " : ""}number ${range}`;
    }
  }
  if (m.n_heads % m.n_kv_heads && !field("model").value)
    return `${m.n_heads} query heads cannot share ${m.n_kv_heads} key-value heads evenly; take a divisor of ${m.n_heads}`;
  return "";
}

function compute() {
  const m = chosen(), [context, batch, bits, cacheBits, rows] = SETTINGS.map(name => field(name).valueAsNumber);
  const wrong = problem(m);
  field("problem").textContent = wrong ? `${wrong}.` : warning(m, context);
  field("problem").classList.toggle("wrong", !!wrong);
  if (wrong) return blank();
  const bytes = {
    weights: Math.ceil((m.parameters * bits) / 8),
    cache: Math.ceil((m.cached * context * batch * cacheBits) / 8),
    logits: 4 * rows * m.vocab_size,
  };
  bytes.total = bytes.weights + bytes.cache + bytes.logits;
  const how = {
    weights: `${whole(m.parameters)} parameters × ${bits} bits`,
    cache: `${whole(m.cached)} numbers a token × ${whole(context * batch)} tokens × ${cacheBits} bits`,
    logits: `${whole(rows)} tokens × ${whole(m.vocab_size)} entries × 32 bits`,
    total: `cache ${round((100 * bytes.cache) / bytes.total, 0)}%, logits ${round((100 * bytes.logits) / bytes.total, 0)}%`,
  };
  for (const [name, size] of Object.entries(bytes)) {
    field(`${name}-bytes`).value = size;
    field(`${name}-bytes`).textContent = round(size / MIB, 1);
    field(`${name}-how`).textContent = how[name];
  }
  [...field("bar").children].forEach((part, i) => (part.style.flexGrow = bytes[PARTS[i]] / bytes.total));
  devices.forEach((device, i) => {
    const share = bytes.total / (device.gib * GIB);
    const percent = `${round(100 * share, share < 0.1 ? 1 : 0)}% of its ${device.gib} GiB`;
    field(`device-${i}`).textContent = share <= 1 ? `fits: ${percent}` : `does not fit: needs ${percent}`;
    field(`device-${i}`).className = share <= 1 ? "fits" : "too-big";
  });
  const fitting = devices.filter(device => bytes.total <= device.gib * GIB).length;
  field("said").textContent = `${round(bytes.total / MIB, 1)} MiB together; fits ${fitting} of ${devices.length} devices`;
}

function warning(m, context) {
  const beyond = m.max_context && context > m.max_context;
  return beyond ? `The model was made for ${whole(m.max_context)} tokens; a cache for ${whole(context)} is counted all the same.` : "";
}

function blank() {
  for (const name of [...PARTS, "total"]) {
    field(`${name}-bytes`).removeAttribute("value");
    field(`${name}-bytes`).textContent = "–";
    field(`${name}-how`).textContent = "";
  }
  devices.forEach((_, i) => (field(`device-${i}`).textContent = "–"));
  [...field("bar").children].forEach(part => (part.style.flexGrow = 0));
  field("said").textContent = "";
}

// A model fills the dimensions in and locks them: its count is exact, with whatever its family has beyond them.
function choose() {
  const m = models[field("model").value];
  for (const name of DIMENSIONS) {
    if (m) field(name).value = m[name];
    field(name).readOnly = !!m;
  }
  for (const name of ["gated", "tied"]) {
    if (m) field(name).checked = m[name];
    field(name).disabled = !!m;
  }
  compute();
}

const asked = new URLSearchParams(location.search).get("model");
choose(); // so that "my own dimensions" has something to start from
if (asked in models) field("model").value = asked;
field("model").addEventListener("change", choose);
field("dimensions").addEventListener("input", compute);
SETTINGS.forEach(name => field(name).addEventListener("input", compute));
document.getElementById("calc").addEventListener("submit", event => event.preventDefault());
document.getElementById("calc").hidden = false;
choose();
