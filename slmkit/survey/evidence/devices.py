"""Section 4.2 of the survey: quantization (Figure 9) and hardware (Figure 10, and the authors' table of phones).

Quantization: Phi-1.5 on a Jetson Orin NX at 8 to 50 tokens. Hardware: Bloom-1B1 at 4 bits on that Jetson and on a Meizu
18 Pro. Figure numbers are those of version 3.
"""

from functools import cache
from statistics import fmean

from slmkit.survey.evidence.estimates import Estimate, fit, student
from slmkit.survey.tables import rows

PREFILL, DECODE = "9a", "9b"
QUANTS = ("Q3_K", "Q4_K_M", "Q5_K", "Q6_K", "Q8_0")
JETSON, MEIZU = "Jetson Orin NX 16GB", "Meizu 18 Pro"
SHORT, LONG = (8, 15), (43, 50)  # prompt tokens: the first and the last eight lengths of the figure
FIRST = 10  # tokens after which the survey says that the phone's curve flattens
# The authors' phones from fast to slow as version 3 ranks them, as their table spells them.
RANKED = ("Xiaomi 12S", "Pixel 7Pro", "MEIZU 18Pro")


@cache
def curve(figure: str, series: str) -> dict[float, float]:
    """Tokens -> milliseconds; `series` is a quantization in Figure 9, a device in Figure 10."""
    return {float(row["x_value"]): float(row["value"]) for row in rows("runtime")
            if row["figure_v3"] == figure and series in (row["quant"], row["device"])}  # fmt: skip


# -- quantization ----------------------------------------------------------------------------------------------------


def reductions(figure: str, quant: str) -> dict[float, float]:
    """Tokens -> by how many percent the quantized model takes less time than FP16."""
    base = curve(figure, "FP16")
    return {tokens: 100 * (1 - time / base[tokens]) for tokens, time in curve(figure, quant).items()}


def reduction(figure: str, quant: str, low: float = 0, high: float = 50) -> float:
    """Its mean over the lengths from `low` to `high`."""
    return fmean(value for tokens, value in reductions(figure, quant).items() if low <= tokens <= high)


def place(figure: str, quant: str) -> int:
    """Place by mean reduction among the five quantizations, 1 for the fastest."""
    return 1 + sum(reduction(figure, other) > reduction(figure, quant) for other in QUANTS)


def every_decode_reduction() -> list[float]:
    """Of all quantizations and lengths."""
    return [value for quant in QUANTS for value in reductions(DECODE, quant).values()]


def decode_over_prefill() -> Estimate:
    """Mean reduction in decode minus mean reduction in prefill, points; Student's interval over the quantizations."""
    return student([reduction(DECODE, quant) - reduction(PREFILL, quant) for quant in QUANTS])


def fall_with_length(figure: str) -> Estimate:
    """Mean reduction at long prompts minus that at short ones, points; Student's interval over the quantizations."""
    return student([reduction(figure, quant, *LONG) - reduction(figure, quant, *SHORT) for quant in QUANTS])


def time_ratio(first: str, second: str) -> list[float]:
    """Mean time of the first quantization over that of the second, in prefill and in decode."""
    curves = [(curve(figure, first), curve(figure, second)) for figure in (PREFILL, DECODE)]
    return [fmean(a.values()) / fmean(b.values()) for a, b in curves]


# -- hardware --------------------------------------------------------------------------------------------------------


def speedups(figure: str) -> dict[float, float]:
    """Tokens -> how many times as long the phone takes."""
    phone, jetson = curve(figure, MEIZU), curve(figure, JETSON)
    return {tokens: phone[tokens] / jetson[tokens] for tokens in phone}


def least_linear() -> float:
    """The smaller R², of both devices, of a line through time to the first token against prompt length."""
    return min(fit(*zip(*curve("10a", device).items())) for device in (JETSON, MEIZU))


def early_rise() -> float:
    """How many times as steeply the phone's decode time rises over its first ten tokens as after them."""
    times = curve("10b", MEIZU)
    first, last = min(times), max(times)
    early = (times[FIRST] - times[first]) / (FIRST - first)
    return early / ((times[last] - times[FIRST]) / (last - FIRST))


def unsteadiness(device: str, after: float = 0) -> float:
    """By how many percent the slowest generated token is above the fastest, from token `after` on."""
    times = [time for tokens, time in curve("10b", device).items() if tokens >= after]
    return 100 * (max(times) / min(times) - 1)


@cache
def phones(metric: str) -> dict[tuple[str, str], float]:
    """(phone, model) -> value, from the authors' table of May 2024, which is not part of the paper."""
    return {(row["device"], row["model"]): float(row["value"]) for row in rows("runtime")
            if row["figure_v3"] == "-" and row["metric"] == metric}  # fmt: skip


def places_as_ranked(model: str = "Qwen1.5-1.8B") -> int:
    """Of the three phones, those that stand at the place that version 3 gives them, by time to the first token."""
    times = phones("first token time")
    found = sorted(RANKED, key=lambda phone: times[phone, model])
    return sum(a == b for a, b in zip(found, RANKED))


def newer_over_older(newer: str, older: str, metric: str) -> Estimate:
    """Time on the newer phone over time on the older one; Student's interval over the seven models."""
    times = phones(metric)
    models = sorted({model for phone, model in times if phone == newer})
    return student([times[newer, model] / times[older, model] for model in models])


CLAIMS = {
    "C82": lambda: reduction(PREFILL, "Q4_K_M"),
    "C82a": lambda: min(reductions(PREFILL, quant)[8] for quant in QUANTS),
    "C82b": lambda: curve(PREFILL, "Q3_K")[50] / curve(PREFILL, "FP16")[50],
    "C82c": lambda: place(PREFILL, "Q4_K_M"),
    "C83": lambda: max(every_decode_reduction()),
    "C83a": lambda: min(every_decode_reduction()),
    "C83b": lambda: place(DECODE, "Q4_K_M"),
    "C83c": lambda: place(DECODE, "Q6_K"),
    "C84a": decode_over_prefill,
    "C85a": lambda: fall_with_length(PREFILL),
    "C86a": lambda: max(time_ratio("Q4_K_M", "Q3_K")),
    "C86b": lambda: min(time_ratio("Q6_K", "Q8_0")),
    "C87": lambda: time_ratio("Q5_K", "Q8_0")[1],
    "C88": lambda: max(speedups("10a").values()),
    "C88a": lambda: min(speedups("10a").values()),
    "C89a": least_linear,
    "C89b": early_rise,
    "C90": places_as_ranked,
    "C91a": lambda: fmean(speedups("10a").values()) / fmean(speedups("10b").values()),
    "C92": lambda: unsteadiness(JETSON) / unsteadiness(MEIZU),
    "C92a": lambda: unsteadiness(JETSON, FIRST) / unsteadiness(MEIZU, FIRST),
    "C93": lambda: newer_over_older("Xiaomi 12S", "MEIZU 18Pro", "first token time"),
    "C93a": lambda: newer_over_older("Xiaomi 14", "Xiaomi 12S", "latency per token"),
}
