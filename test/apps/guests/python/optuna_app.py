"""Optuna's relational storage: studies with trials. Its ids are plain, so its workers belong on one node."""
import sqlite3

import optuna

from verbs import integrity, main

TRIALS = 12
optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage(file):
    return optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": 20}})


def migrate(file):
    store = storage(file)
    store.upgrade()
    optuna.create_study(storage=store, study_name="shared", direction="minimize")


def objective(trial):
    x = trial.suggest_float("x", -5, 5)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    for step in range(3):
        trial.report(x * x + step, step)
    trial.set_user_attr("kind", kind)
    return x * x


def fill(file, who):
    store = storage(file)
    study = optuna.create_study(storage=store, study_name=who, sampler=optuna.samplers.RandomSampler(7))
    study.optimize(objective, n_trials=TRIALS)
    optuna.load_study(storage=store, study_name="shared").optimize(objective, n_trials=2)
    return {"kept": TRIALS + 2}


def report(file):
    store = storage(file)
    studies = {s.study_name: optuna.load_study(storage=store, study_name=s.study_name) for s in store.get_all_studies()}
    trials = {name: [(t.number, t.value, t.params) for t in study.trials] for name, study in sorted(studies.items())}
    return {"kept": sum(map(len, trials.values())), "trials": trials, "best": studies["shared"].best_trial.number}


def check(file):
    store = storage(file)
    assert store.get_current_version() == store.get_head_version()
    for study in store.get_all_studies():
        for trial in store.get_all_trials(study._study_id):
            complete = len(trial.params) == 2 and len(trial.intermediate_values) == 3 and "kind" in trial.user_attrs
            assert complete and trial.state.name == "COMPLETE", (study.study_name, trial)
    integrity(sqlite3.connect(file))


main(migrate=migrate, fill=fill, report=report, check=check)
