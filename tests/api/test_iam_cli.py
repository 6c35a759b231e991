"""IAM through the stock aws CLI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.api.test_iam_roles import EXECUTION, READ, TASKS, TRUST
from tests.support.door import Door


def test_roles_and_policies(door: Door, tmp_path: Path) -> None:
    keys = door.daemon.credential
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": door.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    command = str(Path(sys.executable).parent / "aws")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [command, "iam", *arguments]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=60)

    def aws(*arguments: str) -> Any:
        done = run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout or "{}")

    trust, read = tmp_path / "trust.json", tmp_path / "read.json"
    trust.write_text(TRUST)
    read.write_text(READ)
    of = ("--role-name", "web")
    made = aws(
        "create-role", *of, "--assume-role-policy-document", f"file://{trust}", "--tags", "Key=a,Value=b"
    )
    assert made["Role"]["AssumeRolePolicyDocument"] == TASKS
    aws("wait", "role-exists", *of)
    aws("attach-role-policy", *of, "--policy-arn", EXECUTION)
    aws("put-role-policy", *of, "--policy-name", "read", "--policy-document", f"file://{read}")
    assert aws("get-role-policy", *of, "--policy-name", "read")["PolicyDocument"] == json.loads(READ)
    arn = aws("create-policy", "--policy-name", "own", "--policy-document", f"file://{read}")["Policy"]["Arn"]
    aws("attach-role-policy", *of, "--policy-arn", arn)
    names = aws("list-attached-role-policies", *of, "--page-size", "1")["AttachedPolicies"]
    assert [each["PolicyArn"] for each in names] == [arn, EXECUTION]
    asked = ("--policy-source-arn", made["Role"]["Arn"], "--action-names", "s3:GetObject", "s3:PutObject")
    results = aws("simulate-principal-policy", *asked)["EvaluationResults"]
    assert [each["EvalDecision"] for each in results] == ["allowed", "implicitDeny"]
    refused = run("delete-role", *of)
    assert refused.returncode != 0
    assert (
        "An error occurred (DeleteConflict) when calling the DeleteRole operation: Cannot delete entity, must"
        " detach all policies first." in refused.stderr
    )
    gone = run("get-role", "--role-name", "none")
    assert (
        "(NoSuchEntity) when calling the GetRole operation: The role with name none cannot be" in gone.stderr
    )
