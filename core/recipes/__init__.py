"""One readable file a stage. Each has `main(context)`; only `core.jobs.worker` imports them, by name, from STAGES."""
