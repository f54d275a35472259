"""Where the work runs and how tasks are handed out: clients, streams of tasks, workers."""
