"""LangGraph's checkpointer: threads of checkpoints with writes, under UUIDs that rise in time."""
import sqlite3

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from verbs import integrity, main

STEPS = 12


def saver(file):
    return SqliteSaver(sqlite3.connect(file, timeout=20, check_same_thread=False))


def migrate(file):
    saver(file).setup()


def fill(file, who):
    store = saver(file)
    for thread in range(3):
        config = {"configurable": {"thread_id": f"{who}/{thread}", "checkpoint_ns": ""}}
        for step in range(STEPS):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"messages": [f"{who} says {step}"] * step}
            config = store.put(config, checkpoint, {"source": "loop", "step": step, "who": who}, {})
            store.put_writes(config, [("messages", f"{step}!"), ("next", step + 1)], task_id=f"task{step}")
    # A thread that everyone continues, as two tabs of one conversation.
    store.put({"configurable": {"thread_id": "shared", "checkpoint_ns": ""}}, empty_checkpoint(), {"step": 0, "who": who}, {})
    store.delete_thread(f"{who}/2")
    return {"kept": 2 * STEPS + 1}


def report(file):
    found = list(saver(file).list(None))
    return {
        "kept": len(found),
        "threads": sorted((f.config["configurable"]["thread_id"], f.metadata["step"], len(f.pending_writes)) for f in found),
        "newest": saver(file).get_tuple({"configurable": {"thread_id": "shared"}}).metadata["who"],
    }


def check(file):
    integrity(sqlite3.connect(file))
    for found in saver(file).list(None):
        thread = found.config["configurable"]["thread_id"]
        if thread != "shared":
            assert len(found.checkpoint["channel_values"]["messages"]) == found.metadata["step"], thread


main(migrate=migrate, fill=fill, report=report, check=check)
