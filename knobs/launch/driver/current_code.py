"""The code that the next run is trained by. A file of the project may be edited while its study runs."""

from __future__ import annotations

from collections.abc import Container

from knobs import discover, provenance
from knobs.code import (
    changed_modules,
    forget_project_modules,
    restore_project_modules,
    training_code,
    training_code_hash,
)
from knobs.config import RunConfig
from knobs.data import begin_launch
from knobs.errors import BadInputError
from knobs.launch.driver.open_run import OpenRun
from knobs.terminal.say import warn


class CurrentCode:
    """Notices edited files, and imports them anew, so that driver and workers run what is on disk."""

    def __init__(self) -> None:
        self.reloads = 0
        """How often edited files were imported anew."""
        self._unusable: dict[str, bytes] = {}
        """Content of edited files that do not import, by path; they wait for their next edit."""

    def _refresh(self, modules: Container[str]) -> None:
        """Import the project's files anew if one of these modules was edited.

        If they do not import, keep the code from before the edit. Raise `BadInputError` if knobs itself was edited.
        """
        changed = {name: path for name, path in changed_modules().items() if name in modules}
        engine = next((path for name, path in changed.items() if name.partition(".")[0] == "knobs"), None)
        if engine is not None:
            raise BadInputError(f"{engine} has changed while this command runs; run it again to continue")
        edited = {str(path): path.read_bytes() if path.is_file() else b"" for path in changed.values()}
        if not edited or edited == self._unusable:
            return
        names = ", ".join(sorted(edited))
        forgotten = forget_project_modules()
        try:
            for name in forgotten:
                folder, _, file = name.partition(".")
                if folder in discover.FOLDERS and file in discover.files(folder):
                    discover.load(folder, file)
        except BadInputError as error:
            restore_project_modules(forgotten)
            self._unusable = edited
            warn(f"edited, but not usable: {error}; runs go on with the code from before")
            return
        self.reloads += 1
        self._unusable = {}
        provenance.git_state.cache_clear()
        begin_launch(fresh=True)  # the loaded arrays are those of the old code
        warn(f"edited: {names}; runs that start from now on are trained by the new code and recorded under its hash")

    def settle(self, run: OpenRun) -> bool:
        """Give a run the code of now. Return false if it has trained under other code, so that it cannot go on."""
        content = run.config.content()
        self._refresh(training_code(content).files)
        if self.reloads:  # a tree of the classes that are imported now
            run.config = RunConfig.from_json(run.planned.config.to_json())
        code = training_code_hash(content)
        old = run.planned.continues.code if run.planned.continues else run.code if run.has_trained else code
        if old != code:
            return False
        if run.code != code:
            run.code, run.identity = code, ""
        return True
