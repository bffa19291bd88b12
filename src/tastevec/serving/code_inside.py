"""The network's own code inside a bundle, so that ``AutoModel`` opens it where tastevec is not installed.

The files are the modules of `tastevec.model` as they are; there is no second network. tastevec itself never runs them: whoever
loads a bundle with it gets the network that is installed, and the files are bytes with a checksum. Hugging Face's
transformers runs them where the caller says ``trust_remote_code=True``, and not otherwise.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Final

from tastevec.schema import CONFIG_FILE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MODULES", "put_code"]

# `tastevec.model.encoder` and all that it imports of its own room.
MODULES: Final = ("config", "encoder")

# Where transformers finds the classes, as its own save_pretrained writes it.
_AUTO_MAP: Final = {"AutoConfig": "config.TasteConfig", "AutoModel": "encoder.TasteEncoder"}


def put_code(folder: Path) -> None:
    """Write the network's modules into ``folder``, and into its configuration where the classes are."""
    room = resources.files("tastevec.model")
    for name in MODULES:
        (folder / f"{name}.py").write_bytes((room / f"{name}.py").read_bytes())
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps({**config, "auto_map": _AUTO_MAP}, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
