"""Who labels first: one engine for every LLM API, budget, ledgered replies, and a recorded teacher for offline use."""
