"""One request to Aider in a terminal: waits for its prompt, asks, answers its questions, leaves. Prints what was seen as JSON.

python aider_pty.py --message "make greet return 42" --answer y --answer n -- ssh -tt HOST 'cd repo && aider --no-pretty hello.py'
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys

import pexpect

PROMPT = r"\n[a-z ]*> "
QUESTION = r"\(Y\)es/\(N\)o[^\n]*: ?$"


def session(argv: list[str], message: str, answers: list[str], timeout_s: float) -> dict[str, object]:
    """``questions``: what Aider asked, in order; ``screen``: everything it wrote; ``before``: until the last question."""
    seen = io.StringIO()
    child = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=timeout_s, dimensions=(50, 160))
    child.logfile_read = seen
    questions: list[str] = []
    before = ""
    try:
        child.expect(PROMPT)
        child.sendline(message)
        child.expect([re.escape(message[-20:])])
        while child.expect([QUESTION, PROMPT]) == 0:
            before = seen.getvalue()
            questions.append(" ".join((child.before.splitlines() or [""])[-1].split()) + " " + child.after.strip())
            if len(questions) > 6:
                break
            child.sendline(answers[min(len(questions), len(answers)) - 1])
        child.sendline("/exit")
        child.expect(pexpect.EOF)
    except (pexpect.TIMEOUT, pexpect.EOF) as error:
        return {"error": type(error).__name__, "questions": questions, "before": before, "screen": seen.getvalue()}
    finally:
        child.close(force=True)
    return {
        "error": "",
        "questions": questions,
        "before": before,
        "screen": seen.getvalue(),
        "status": child.exitstatus,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--message", required=True)
    parser.add_argument(
        "--answer", required=True, action="append", help="to each question in turn; the last to all further ones"
    )
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for each step")
    parser.add_argument("argv", nargs="+")
    args = parser.parse_args()
    print(json.dumps(session(args.argv, args.message, args.answer, args.timeout)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
