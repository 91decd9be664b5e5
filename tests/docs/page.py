"""The program of a page: executes its pieces in one namespace, one JSON line for each.

Usage: ``page.py FOLDER``. A line on stdin is ``{"code": ..., "file": ..., "line": ...}``; the
answer is ``{"out": ..., "error": ...}``. Ends when stdin is closed, as any program ends.
"""

import contextlib
import io
import json
import os
import sys
import traceback


def main(folder: str) -> None:
    os.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    for line in sys.stdin:
        piece = json.loads(line)
        out = io.StringIO()
        error = ""
        with contextlib.redirect_stdout(out):
            try:
                # The page's own lines in a traceback.
                code = compile("\n" * (piece["line"] - 1) + piece["code"], piece["file"], "exec")
                exec(code, names)
            except BaseException:
                error = traceback.format_exc()
        print(json.dumps({"out": out.getvalue(), "error": error}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
