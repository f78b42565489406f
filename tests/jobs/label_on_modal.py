"""A client to be killed: labels a folder on Modal. python -m tests.jobs.label_on_modal STUDENT SOURCE TARGET SHARD_ROWS"""

import sys
from pathlib import Path

from jobs.labels import LabelJob, label_on
from jobs.on_modal import ModalApp
from serving.student import task_in

if __name__ == "__main__":
    student, source, target = (Path(argument) for argument in sys.argv[1:4])
    job = LabelJob(student, source, task_in(student).data, source, shard_rows=int(sys.argv[4]))
    with ModalApp() as engine:
        done = label_on(engine, job, target)
    print(f"{done.counts.rows} rows, {done.counts.resumed} resumed", flush=True)
