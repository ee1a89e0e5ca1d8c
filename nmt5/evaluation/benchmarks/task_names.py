"""Names of the benchmarks' SeqIO tasks and mixtures, made and read back without SeqIO.

    <benchmark>_train.<language>            split train
    <benchmark>_translate_train.<language>  split train: translated examples
    <benchmark>_few<n>_seed<s>.<language>   split train: n seeded examples
    <benchmark>_train_without<n>.<language> split train without n examples, which are validation
    <benchmark>_eval.<language>             splits validation and test, as far as there are
    <benchmark>_<setting>                   mixture of the tasks of a setting, all at rate 1;
                                            <benchmark>_few_shot_seed<s>, and with a language
                                            <benchmark>_in_language.<language>
    <benchmark>_zeroshot_held_out           the same, checkpoint chosen on held-out English training
                                            examples, where no split but test is left

A `-` in a language's code becomes `_`.
"""

from collections.abc import Iterator, Sequence
import dataclasses

from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part
from nmt5.evaluation.benchmarks.regimes import Plan, plan, settings_of
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark

FEW_SEEDS = (0, 1, 2, 3, 4)
HELD_OUT_SELECTION = "held_out_english"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingMixture:
    """What the mixture of a setting stands for.

    Attributes:
      name: of the mixture.
      benchmark: name of the benchmark.
      setting: one of `regimes.SETTINGS`.
      language: of "in_language".
      seed: of "few_shot".
      selection: one of `regimes.SELECTIONS`.
    """

    name: str
    benchmark: str
    setting: str
    language: str | None = None
    seed: int = 0
    selection: str = "all_languages"

    def plan(self) -> Plan:
        """Returns the parts to train on, select on and report."""
        return plan(
            find_benchmark(self.benchmark),
            self.setting,
            language=self.language,
            seed=self.seed,
            selection=self.selection,
        )


def plain(language: str) -> str:
    """Returns a language's code as SeqIO allows it."""
    return language.replace("-", "_")


def eval_task_name(benchmark: str, language: str) -> str:
    """Returns the name of the task that evaluates a benchmark in a language."""
    return f"{benchmark}_eval.{plain(language)}"


def train_task_name(part: Part) -> str:
    """Returns the name of the task that trains on a part."""
    kind = part.split if part.limit is None else f"few{part.limit}_seed{part.seed}"
    kind += f"_without{part.held_out}" if part.held_out else ""
    return f"{part.benchmark}_{kind}.{plain(part.language)}"


def setting_mixtures(
    benchmark: Benchmark, *, few_seeds: Sequence[int] = FEW_SEEDS
) -> Iterator[SettingMixture]:
    """Yields the mixtures of a benchmark's settings.

    Args:
      benchmark: which.
      few_seeds: seeds of the few-shot mixtures.
    """
    name, settings = benchmark.name, settings_of(benchmark)
    for setting in settings:
        both = {"benchmark": name, "setting": setting}
        if setting == "in_language":
            for one in benchmark.train_languages:
                yield SettingMixture(name=f"{name}_{setting}.{plain(one)}", language=one, **both)
        elif setting == "few_shot":
            for seed in few_seeds:
                yield SettingMixture(name=f"{name}_{setting}_seed{seed}", seed=seed, **both)
        else:
            yield SettingMixture(name=f"{name}_{setting}", **both)
    if "zeroshot" in settings and plan(benchmark, "zeroshot").selected_on_test:
        yield SettingMixture(
            name=f"{name}_zeroshot_held_out",
            benchmark=name,
            setting="zeroshot",
            selection=HELD_OUT_SELECTION,
        )


def find_mixture(name: str) -> SettingMixture | None:
    """Returns what the name of a mixture stands for, or None if no benchmark has it."""
    for row in BENCHMARKS.values():
        if name.startswith(f"{row.name}_"):
            for one in setting_mixtures(row):
                if one.name == name:
                    return one
    return None


def find_evaluated(name: str) -> tuple[Benchmark, str] | None:
    """Returns (benchmark, language) of the name of an evaluation task, or None."""
    first, found, last = name.partition("_eval.")
    if not found or first not in BENCHMARKS:
        return None
    row = BENCHMARKS[first]
    source, _, target = last.partition("_to_")
    codes = {plain(code): code for code in row.between}
    if source in codes and target in codes and source != target:
        return row, f"{codes[source]}_to_{codes[target]}"
    return next(((row, one) for one in row.languages if plain(one) == last), None)
