"""The main job on the helpdesk corpus, over seeds: delivered labels, the student against full supervision, time, memory.

Messages are synthetic, the teacher is a recording, the experts are rehearsed; the desk is the file desk, so that only
the loop is measured (`make demo` runs the same with the embedded Argilla).
python -m benchmarks.helpdesk [--quick] --json OUT
"""

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, arguments, at_least, at_most, report
from loop.command import run_task
from loop.learn import HELD_OUT_SHARE, base_of, recipe_of
from loop.project import open_project, read_gold, read_known_labels, read_pool
from serving.student import inputs_of
from stillhouse.probabilities import one_hot
from trainer.features import embed_cached
from trainer.student import HeldOut, fit_student

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "helpdesk"


def task_for(name: str, seed: int, folder: Path, *, quick: bool = False) -> Path:
    """The example's task with another seed and the file desk; `quick` keeps to the head."""
    text = (EXAMPLE / f"{name}.toml").read_text(encoding="utf-8")
    text = text.replace("seed = 0", f"seed = {seed}").replace("[desk]", '[desk]\nkind = "files"')
    if quick:
        text = text.replace("[student]", '[student]\nrecipe = "head"')
    for entry in EXAMPLE.iterdir():
        if entry.suffix != ".toml" and not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry)
    path = folder / f"{name}-{seed}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def full_supervision(task_path: Path, features: Path) -> float:
    """The same student taught by every known label of the pool, on gold."""
    project = open_project(task_path, None)
    pool = read_pool(project)
    gold, known = read_gold(project, pool), read_known_labels(project)
    assert gold is not None
    assert known is not None
    names = project.task.label_names
    truth = np.array([names.index(str(known[item.id])) for item in pool])
    targets = one_hot(truth, len(names))
    base = base_of(project)
    held = np.sort(project.rng("held out").permutation(len(pool))[: round(HELD_OUT_SHARE * len(pool))])
    inputs = inputs_of(project.kind, pool)
    recipe = recipe_of(project, last=True)
    assert recipe != "generate"  # that is for fields
    student = fit_student(
        inputs,
        targets,
        np.ones(len(pool)),
        names,
        project.task.student,
        seed=project.task.seed,
        base=base,
        features=embed_cached(base, inputs, features, threads=project.task.student.threads).vectors,
        held_out=HeldOut(held, targets[held]),
        recipe=recipe,
    )
    said = student.predict(inputs_of(project.kind, gold.items)).argmax(axis=1)
    right = float(np.mean([names[best] == label for best, label in zip(said, gold.values, strict=True)]))
    print(f"full supervision, seed {project.task.seed}: {student.facts['recipe']}, {right:.4f}", flush=True)
    return right


def main() -> None:
    given = arguments(__doc__ or "")
    seeds = given.seeds or (1 if given.quick else 3)
    delivered, student, full, seconds, answers = [], [], [], [], []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        for seed in range(seeds):
            task = task_for("team", seed, folder, quick=given.quick)
            started = time.monotonic()
            summary = run_task(
                task, folder / f"run-{seed}", most=None, wait=False, keep_argilla=False, quiet=True
            ).summary
            seconds.append(time.monotonic() - started)
            delivered.append(summary["delivered_accuracy"]["value"])
            student.append(summary["student_accuracy"]["value"])
            answers.append(summary["human_labels"])
            print(
                json.dumps(
                    {
                        k: summary[k]
                        for k in (
                            "human_labels",
                            "delivered_accuracy",
                            "delivered_certificate",
                            "student_accuracy",
                            "stop_reason",
                        )
                    }
                ),
                flush=True,
            )
            full.append(full_supervision(task, folder / f"run-{seed}" / "features"))
        if not given.quick:
            route = run_task(
                task_for("route", 0, folder), folder / "route", most=None, wait=False, keep_argilla=False, quiet=True
            ).summary
            print(json.dumps(route), flush=True)
            figures += [
                Figure("helpdesk route: answers asked of people", route["human_labels"], "", None),
                Figure("helpdesk route: delivered labels right", route["delivered_accuracy"]["value"], "", None),
            ]
    figures = [
        at_least("helpdesk team: delivered labels right, mean over seeds", float(np.mean(delivered)), 0.93),
        at_least("helpdesk team: delivered labels right, worst seed", float(np.min(delivered)), 0.93),
        at_most("helpdesk team: answers of people", max(answers), 380),
        at_least("helpdesk team: student's share of full supervision", float(np.mean(student) / np.mean(full)), 0.99),
        Figure("helpdesk team: student on gold", round(float(np.mean(student)), 4), "", None),
        Figure("helpdesk team: full supervision on gold", round(float(np.mean(full)), 4), "", None),
        at_most("helpdesk team: seconds of the loop, slowest seed", max(seconds), 360),
        at_most("helpdesk team: peak memory, GiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        *figures,
    ]
    report(figures, given.json)


if __name__ == "__main__":
    main()
