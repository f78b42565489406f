"""What holds for every test: nothing is told to anybody outside, and no picture opens a window."""

import os

from hypothesis import settings

# Set before any test imports a library that reads them. A test that needs a key or an address sets its own.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in ("OPENAI_API_KEY", "ARGILLA_API_KEY", "ARGILLA_API_URL"):
    os.environ.pop(name, None)

# The same examples in every run, so that what passed once passes again; to look for new ones: EXPLORE=1 make test
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if os.environ.get("EXPLORE") else "repeatable")
