"""The compose file of a stock server: readable, bound to this machine, without a built-in password.

It cannot be run where these tests run (no Docker), so they check what it says.
"""

import re
from pathlib import Path

import pytest

import argilla_setup

COMPOSE = Path(argilla_setup.__file__).parent / "docker-compose.yml"


def test_it_is_valid_yaml_with_the_four_parts_and_a_worker() -> None:
    """Server, worker, Postgres, Elasticsearch and Redis, all images pinned to a version."""
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert set(services) == {"argilla", "worker", "postgres", "elasticsearch", "redis"}
    assert services["argilla"]["image"] == "argilla/argilla-server:v2.8.0"
    assert all(":" in service["image"] and "latest" not in service["image"] for service in services.values())
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published == ["127.0.0.1:${ARGILLA_PORT:-6900}:6900"]


def test_no_password_is_built_in() -> None:
    """Every secret comes from the environment, and compose stops when one is missing."""
    text = COMPOSE.read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "AUTH_SECRET_KEY", "OWNER_PASSWORD", "OWNER_API_KEY"):
        uses = re.findall(rf"\$\{{ARGILLA_{name}([^}}]*)\}}", text)
        assert uses
        assert all(rest.startswith(":?") for rest in uses)
    assert "1234" not in text
    assert "argilla.apikey" not in text


def test_every_setting_is_one_that_the_server_reads(argilla_venv: Path) -> None:
    """The names are those of argilla-server's own settings, which ignores a misspelt one; the rest its image reads."""
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    (package,) = argilla_venv.glob("lib/python3.*/site-packages/argilla_server")
    known = {
        f"ARGILLA_{prefix}{name.upper()}"
        for prefix, file in (("", "settings.py"), ("AUTH_", "security/settings.py"))
        for name in re.findall(r"^    ([a-z_]+): ", (package / file).read_text(encoding="utf-8"), re.MULTILINE)
    }
    given = set(services["argilla"]["environment"])
    assert {"ARGILLA_ELASTICSEARCH", "ARGILLA_AUTH_SECRET_KEY"} <= given & known
    assert given - known == {"USERNAME", "PASSWORD", "API_KEY", "HF_HUB_DISABLE_TELEMETRY"}
    assert set(services["worker"]["environment"]) < given
