"""An adapter, its card and its samples on the Hugging Face hub, in one commit, with the user's own login."""

import textwrap
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..adapters.formats import load_adapter
from ..errors import Error
from .kit import kit_folder

LOG_IN = "log in with  hf auth login  (or set HF_TOKEN) and try again"


def push(adapter: Path, repo: str, *, kit: Path | None = None, private: bool = False) -> str:
    """Upload the file and its kit (unset: the folder that `sdlora card` makes); returns the page's address.

    The repository `USER/NAME` is made where there is none. Raises `Error` for what is no adapter, without a login, a
    network or the right to write there.
    """
    if get_token() is None:
        raise Error(f"{repo} can't be written without a login to Hugging Face: {LOG_IN}")
    load_adapter(adapter)  # what can't be read should not be shared
    kit = kit or kit_folder(adapter)
    files = {adapter.name: adapter} | {
        file.relative_to(kit).as_posix(): file for file in sorted(kit.rglob("*")) if file.is_file()
    }
    operations = [CommitOperationAdd(name, file) for name, file in files.items()]
    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.create_commit(address.repo_id, operations, commit_message=f"Upload {adapter.stem} with sdlora")
    except HFValidationError:
        raise Error(f"{repo!r} is no repository's name: give USER/NAME") from None
    except HfHubHTTPError as problem:
        raise Error(_refusal(repo, problem)) from None
    except Exception as problem:  # without a network the client raises its HTTP library's own kinds
        raise Error(f"{repo} could not be written ({_short(problem)}): are you online?") from problem
    return str(address)


def _refusal(repo: str, problem: HfHubHTTPError) -> str:
    status = problem.response.status_code
    if status == 401:
        return f"Hugging Face does not know this login: {LOG_IN}"
    if status == 403:
        return f"your login may not write to {repo}: give a repository of yours, or a token that may write"
    return f"Hugging Face refused the upload to {repo} ({_short(problem)}): nothing was changed there"


def _short(problem: Exception) -> str:
    return textwrap.shorten(str(problem) or type(problem).__name__, 120, placeholder=" …")
