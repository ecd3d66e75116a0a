"""`oracle vectors`: writes golden gradients for other languages, and compares files of them with the ops."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from oracle.cli.options import check_reports, chosen, jobs_of, write, writing
from oracle.golden.checking import Checked, check
from oracle.golden.writing import files_of, stem
from oracle.running import campaign, workers
from oracle.running.selection import Exit, Stop
from oracle.running.tasks import Task, spec_of
from oracle.sources import written
from oracle.spec import Spec
from oracle.text import count, plain

__all__ = ["vectors"]

TIMEOUT = 300  # seconds for each op: a right op becomes an error on a slow machine with much less


def vectors(options: argparse.Namespace) -> Exit:
    """`oracle vectors write DIR`, `oracle vectors check DIR`."""
    records = [(module, record) for module, record in chosen(options) if isinstance(record, Spec)]
    if not options.names:
        records = [(module, record) for module, record in records if not record.on_request]
    if not records:
        raise Stop(Exit.NOTHING, "no op with a backward pass is named: optimizers and trainings have no gradients to write")
    return _write(records, options) if options.action == "write" else _check(records, options)


def _write(records: list[tuple[str, Spec]], options: argparse.Namespace) -> Exit:
    """Writes the files of all ops whose every gradient passes."""
    stems = [stem(record.name).casefold() for _, record in records]
    if twice := next((name for name in stems if stems.count(name) > 1), None):
        raise Stop(Exit.USAGE, f"two ops would have the files {twice}.json; write them to folders of their own")
    check_reports(options.folder)
    tasks = [Task(module, spec.name, "", "float64") for module, spec in records]
    found = campaign.each(_files, tasks, jobs_of(options), "vectors", "op", timeout=TIMEOUT)
    size, wrong = 0, 0
    for task, result in zip(tasks, found, strict=True):
        if isinstance(result, BaseException):
            print(f"not written: {plain(task.op)}: {plain(str(result) or workers.described(result))}")
            wrong += 1
        else:
            write(options.folder, result)
            size += sum(map(len, result.values()))
    print(f"written: {count(len(tasks) - wrong, 'op')}, {size / 1e6:.1f} MB, to {options.folder}")
    return Exit.FAIL if wrong else Exit.PASS


def _files(task: Task) -> dict[str, str | bytes]:
    """The files of one op, in whichever process."""
    spec = spec_of(task)
    workers.alive()
    return dict(files_of(spec, task.module))


def _check(records: list[tuple[str, Spec]], options: argparse.Namespace) -> Exit:
    """Checks all files of the folder, or those of the ops that are named."""
    with writing(options.folder):
        present = sorted(path for path in options.folder.iterdir() if path.suffix in (".json", ".safetensors"))
    wanted = {stem(record.name) for _, record in records} if options.names or options.family else {p.stem for p in present}
    wrong = [f"{name}: {options.folder / name}.json is missing" for name in sorted(wanted - {p.stem for p in present})]
    paths = [path for path in present if path.suffix == ".json" and path.stem in wanted]
    alone = {p.stem for p in present if p.suffix == ".safetensors"} - {p.stem for p in present if p.suffix == ".json"}
    wrong += [f"{name}: there is no {name}.json beside {name}.safetensors" for name in sorted(alone & wanted)]
    if not paths and not wrong:
        raise Stop(
            Exit.NOTHING, f"no golden gradients in {options.folder}; `oracle vectors write {options.folder}` writes them"
        )
    modules = frozenset({"", *(module for module, _ in records)})
    found = campaign.each(_checked, [(path, modules) for path in paths], jobs_of(options), "vectors", "op", timeout=TIMEOUT)
    checked = [one for one in found if isinstance(one, Checked)]
    wrong += [mistake for one in checked for mistake in one.mistakes]
    wrong += [f"{p.stem}: {workers.described(r)}" for p, r in zip(paths, found, strict=True) if isinstance(r, BaseException)]
    print("\n".join(map(plain, wrong)), end="\n" if wrong else "")
    tensors = sum(one.tensors for one in checked)
    state = f"{count(len(wrong), 'mistake')}" if wrong else "every tensor is as it was written, and within its tolerance"
    print(f"{count(len(paths), 'op')}, {count(sum(o.cases for o in checked), 'case')}, {count(tensors, 'tensor')}: {state}")
    return Exit.FAIL if wrong else Exit.PASS


def _checked(item: tuple[Path, frozenset[str]]) -> Checked:
    """The files of one op, in whichever process."""
    workers.alive()
    path, modules = item
    return check(path, partial(_found, modules))


def _found(modules: frozenset[str], module: str, op: str) -> Spec:
    """The Spec of an op; a KeyError if it is not there. A file must not choose what is imported: the command line does."""
    if module not in modules:
        raise KeyError(f"{op}: its Spec is in the module {module}; name it, as {written(module)}:{op}")
    try:
        record = spec_of(Task(module, op, "", "float64"))
    except StopIteration:
        raise KeyError(f"{op}: there is no Spec of it in the module {module}") from None
    if not isinstance(record, Spec) or record.name != op:
        raise KeyError(f"{op} is no op of the catalogue")
    return record
