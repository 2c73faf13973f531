"""What the dashboard shows, in the order in which one reads it when something is wrong."""

from dataclasses import dataclass
from typing import Final

WHO: Final = 'gateway=~"$gateway",namespace=~"$namespace",backend=~"$backend"'
"""Of every counter of exchanges. The other metrics are of a process."""

RANGE: Final = "$__rate_interval"

GOOD, BAD, ODD = "green", "red", "orange"


@dataclass(frozen=True)
class Query:
    """PromQL, and how each series is called."""

    text: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`kind` as Grafana names it; `unit` too. `steps` are colours from a value on. `width` of 24."""

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 8
    steps: tuple[tuple[str, float | None], ...] = ()
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str, labels: str = WHO) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{RANGE}]))"


def quantile(part: float, metric: str, by: str, labels: str = "") -> str:
    return f"histogram_quantile({part}, sum by (le, {by}) (rate({metric}_bucket{{{labels}}}[{RANGE}])))"


def stat(title: str, about: str, unit: str, query: str, *steps: tuple[str, float | None]) -> Panel:
    return Panel(title, about, unit, (Query(query),), "stat", 4, steps)


RISING: Final = ((GOOD, None), (BAD, 0.0001))

NOW: Final = Row(
    "Now",
    (
        stat("Ready", "Processes that take exchanges and can serve all of them.", "percentunit",
             "avg(extproc_ready)", (BAD, None), (GOOD, 1.0)),
        stat("Requests", "Exchanges that ended.", "reqps", f"sum(rate(extproc_requests_total{{{WHO}}}[{RANGE}]))",
             (GOOD, None)),
        stat("Denied", "The part of them that a decision ended.", "percentunit",
             f"sum(rate(extproc_denials_total{{{WHO}}}[{RANGE}])) / sum(rate(extproc_requests_total{{{WHO}}}[{RANGE}]))",
             (GOOD, None), (ODD, 0.2), (BAD, 0.5)),
        stat("Failed", "The part that nobody decided about: an extension failed, closed.", "percentunit",
             f"sum(rate(extproc_failures_total{{{WHO}}}[{RANGE}])) / sum(rate(extproc_requests_total{{{WHO}}}[{RANGE}]))",
             *RISING),
        stat("Passed over", "Extensions that failed and were passed over, as failOpen says.", "cps",
             f"sum(rate(extproc_fail_open_total{{{WHO}}}[{RANGE}]))", *RISING),
        stat("Configuration refused", "1: what is on disk is refused, and an older one in force.", "none",
             "max(extproc_configuration_refused)", *RISING),
    ),
)  # fmt: skip

EXCHANGES: Final = Row(
    "Exchanges",
    (
        Panel("Requests by Backend", "Exchanges that ended.", "reqps",
              (Query(rate("extproc_requests_total", "backend"), "{{backend}}"),), stacked=True),
        Panel("Denials by code", "Decisions against an exchange.", "reqps",
              (Query(rate("extproc_denials_total", "code"), "{{code}}"),), stacked=True),
        Panel("Failures by extension and cause", "Exchanges refused: an extension failed, and failOpen did not cover it.",
              "reqps", (Query(rate("extproc_failures_total", "extension, cause"), "{{extension}}: {{cause}}"),)),
        Panel("Passed over by extension and cause", "What went on without an extension that failed.", "cps",
              (Query(rate("extproc_fail_open_total", "extension, cause"), "{{extension}}: {{cause}}"),)),
        Panel("Not settled", "Extensions that could not give back or charge at the end what they had taken.", "cps",
              (Query(rate("extproc_unsettled_total", "extension, cause"), "{{extension}}: {{cause}}"),)),
        Panel("Tries by Backend", "Where exchanges have an upstream pass: retries and fallbacks too.", "reqps",
              (Query(rate("extproc_tries_total", "backend"), "{{backend}}"),), stacked=True),
    ),
)  # fmt: skip

LATENCY: Final = Row(
    "Latency",
    (
        Panel("Phases, 99 of 100", "What the chain adds to an exchange in a phase.", "s",
              (Query(quantile(0.99, "extproc_phase_seconds", "phase"), "{{phase}}"),)),
        Panel("Phases, half", "The median.", "s",
              (Query(quantile(0.5, "extproc_phase_seconds", "phase"), "{{phase}}"),)),
        Panel("Extensions, 99 of 100", "With what they waited for.", "s",
              (Query(quantile(0.99, "extproc_extension_seconds", "extension, phase"), "{{extension}} {{phase}}"),)),
    ),
)  # fmt: skip

OUTSIDE: Final = Row(
    "Outside",
    (
        Panel("Cache hits", "The part of the reads that a cache answered: from what is fresh, or from what is stale.",
              "percentunit",
              (Query(
                  f'sum by (cache) (rate(extproc_cache_reads_total{{result!="miss"}}[{RANGE}]))'
                  f" / sum by (cache) (rate(extproc_cache_reads_total[{RANGE}]))", "{{cache}}"),)),
        Panel("Calls by dependency and outcome", "refused: nobody was asked, as a circuit breaker was open.", "cps",
              (Query(rate("extproc_dependency_call_seconds_count", "dependency, outcome", ""),
                     "{{dependency}} {{outcome}}"),), stacked=True),
        Panel("Calls that were answered, 99 of 100", "How long a dependency takes.", "s",
              (Query(quantile(0.99, "extproc_dependency_call_seconds", "dependency", 'outcome="answered"'),
                     "{{dependency}}"),)),
        Panel("Dependencies", "1: it answered the last question, everywhere.", "none",
              (Query("min by (dependency) (extproc_dependency_up)", "{{dependency}}"),)),
        Panel("Circuit breakers", "1: open, in at least one process.", "none",
              (Query('max by (dependency) (extproc_breaker_state{state="open"})', "{{dependency}}"),)),
        Panel("Stale secrets", "Reads that got an old value, as there was no other to be had.", "cps",
              (Query(f'sum by (cache) (rate(extproc_cache_reads_total{{result="stale"}}[{RANGE}]))', "{{cache}}"),)),
    ),
)  # fmt: skip

CONTENT: Final = Row(
    "What passes",
    (
        Panel("Tokens", "As answers said.", "cps", (Query(rate("extproc_tokens_total", "kind"), "{{kind}}"),), stacked=True),
        Panel("Personal data", "What was found, by kind.", "cps",
              (Query(rate("extproc_entities_found_total", "entity"), "{{entity}}"),), stacked=True),
        Panel("Bodies", "Bytes that were read.", "Bps",
              (Query(rate("extproc_body_bytes_total", "direction"), "{{direction}}"),)),
        Panel("Callers", "The ten that ask most.", "reqps",
              (Query(f"topk(10, {rate('extproc_requests_total', 'namespace, serviceAccount')})",
                     "{{namespace}}/{{serviceAccount}}"),), width=12),
        Panel("Tokens by namespace", "The ten that use most.", "cps",
              (Query(f"topk(10, {rate('extproc_tokens_total', 'namespace')})", "{{namespace}}"),), width=12),
    ),
)  # fmt: skip

PROCESS: Final = Row(
    "Processes",
    (
        Panel("Workers", "That told their metrics, where there are several; and that are ready.", "none",
              (Query("sum(extproc_worker_up)", "up"), Query("sum(extproc_ready)", "ready"))),
        Panel("Open streams", "Exchanges, and tries of them.", "none",
              (Query("sum by (worker) (extproc_streams)", "{{worker}}"),)),
        Panel("CPU", "Of one core.", "percentunit",
              (Query(f"sum by (worker) (rate(process_cpu_seconds_total[{RANGE}]) and on (instance, worker) extproc_ready)",
                     "{{worker}}"),)),
        Panel("Memory", "Resident.", "bytes",
              (Query("sum by (worker) (process_resident_memory_bytes and on (instance, worker) extproc_ready)",
                     "{{worker}}"),)),
        Panel("Configuration, age", "Since it was last taken over, or found to be the one on disk.", "s",
              (Query("time() - min(extproc_configuration_last_success_timestamp_seconds)", "age"),)),
        Panel("Certificates, time left", "Of listeners, until their certificate ends.", "s",
              (Query("min by (listener) (extproc_certificate_not_after_timestamp_seconds) - time()", "{{listener}}"),)),
        Panel("Configuration, reloads", "By what became of them.", "none",
              (Query(f"sum by (result) (increase(extproc_configuration_reloads_total[{RANGE}]))", "{{result}}"),)),
        Panel("Open files", "Descriptors.", "none",
              (Query("sum by (worker) (process_open_fds and on (instance, worker) extproc_ready)", "{{worker}}"),)),
        Panel("OTLP exports", "By signal and outcome, where there is an endpoint.", "cps",
              (Query(rate("extproc_otlp_exports_total", "signal, outcome", ""), "{{signal}} {{outcome}}"),)),
        Panel("Spans and log lines dropped", "Exchanges without spans, as too many waited; lines that nobody read.", "cps",
              (Query(f"sum(rate(extproc_spans_dropped_total[{RANGE}]))", "spans"),
               Query(f"sum(rate(extproc_log_lines_dropped_total[{RANGE}]))", "log lines"))),
    ),
)  # fmt: skip

ROWS: Final = (NOW, EXCHANGES, LATENCY, OUTSIDE, CONTENT, PROCESS)
