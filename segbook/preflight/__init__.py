"""The doctor for recipes: data, network, settings and machine looked at before the first step.

for finding in examine(recipes.get("unet_camvid")):
    print(finding)

What it finds with is `segkit.doctor`; here a recipe becomes that library's plain arguments.
"""

from __future__ import annotations

from segbook import lazy

__getattr__ = lazy(
    __name__,
    {
        "PreflightError": "gate",
        "SettingsRefusedError": "gate",
        "examine": "checks",
        "preflight": "gate",
        "run_sanity_checks": "sanity_checks",
        "to_json": "gate",
    },
)
