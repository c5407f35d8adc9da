"""What is published of the API is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tqserver.admin.api import Api

DOCUMENT = Path(__file__).parents[2] / "docs/openapi/admin.yaml"


class OpenAPITests(SynchronousTestCase):
    """C{docs/openapi/admin.yaml}."""

    def test_complete(self) -> None:
        """Every route is described, with its method, and nothing else is."""
        described = {
            (path, method.upper())
            for path, operations in yaml.safe_load(DOCUMENT.read_text())["paths"].items()
            for method in operations
            if method != "parameters"
        }
        routed = set()
        for rule in Api.app.url_map.iter_rules():
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                choices = re.search(r"<any\(([^)]*)\):command>", rule.rule)
                for command in choices.group(1).split(", ") if choices else [""]:
                    path = rule.rule.replace(choices.group(0), command) if choices else rule.rule
                    routed.add((path.replace("<name>", "{name}"), method))
        self.assertEqual(described, routed)
