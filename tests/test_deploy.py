"""What `lamda deploy` writes: whole, the same each time, within the limits, and really run."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import pytest
import rie
import tools
import yaml
from parts import dense, rows

import lamda as lm
import serve
import serve.bundle
from lamda.cli import deploying
from lamda.compile import limits
from lamda.deploy import PLATFORMS, deploy
from lamda.deploy.contents import contents
from lamda.errors import SpecError
from serve.runtime import plugins

model = dense(4, 8, 0, "f") >> dense(8, 2, 1, "g")
START = "ENTRYPOINT "
CFN_LINT = ("cfn-lint", "1.58.0")
SAM = ("aws-sam-translator", "1.115.0")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundle")
    lm.bundle(model, directory, name="Tiny: naïve", batch=(1, 4))
    return directory


@pytest.fixture(scope="module")
def zipped(bundle, tmp_path_factory):
    return deploy("aws", bundle, tmp_path_factory.mktemp("aws"))


def body(x):
    return json.dumps(x.tolist()).encode()


def bare(folder: Path) -> str:
    """A PATH whose python3 has the standard library and nothing else."""
    venv.create(folder, symlinks=True)
    return f"{folder / 'bin'}:/usr/bin:/bin"


def test_the_zip_of_lambda_runs_with_the_standard_library_alone(zipped, tmp_path):
    task = tmp_path / "task"
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", zipped.directory / "function.zip", task], check=True
    )
    with zipfile.ZipFile(zipped.directory / "function.zip") as archive:
        mode = archive.getinfo("bootstrap").external_attr >> 16
    (task / "bootstrap").chmod(mode)
    environment = {
        "PATH": bare(tmp_path / "python"), "PYTHONPATH": "", "LAMBDA_TASK_ROOT": str(task),
        "LAMDA_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    x = rows(3, 4)
    with rie.running(str(task / "bootstrap"), "serve.aws.handler", **environment) as function:
        answer = json.loads(function(body(x)))
        refused = json.loads(function(b"[[1]]"))
        log = function.log()
    np.testing.assert_allclose(answer, model(x), rtol=1e-5, atol=1e-6)
    assert refused["errorType"] == "RequestError"
    assert "Traceback" not in log


def test_the_bytecode_in_the_zip_is_what_python_imports(zipped, tmp_path):
    task = tmp_path / "task"
    with zipfile.ZipFile(zipped.directory / "function.zip") as archive:
        names = [n for n in archive.namelist() if n.startswith(("serve/", "msgpack/"))]
        archive.extractall(task, names)
    before = {p: p.stat().st_mtime_ns for p in task.rglob("*")}
    code = "import serve.aws, serve.handler, msgpack; print(serve.aws.__cached__)"
    path = {"PATH": bare(tmp_path / "python")}
    command = ["python3", "-c", code]
    done = subprocess.run(command, cwd=task, env=path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {str(p) for p in before}
    assert {p: p.stat().st_mtime_ns for p in task.rglob("*")} == before


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A plugin that is written in no time, and fits everywhere; it can not be run."""
    path = tmp_path / "small.so"
    path.write_bytes(b"small")
    monkeypatch.setenv("LAMDA_PJRT_PLUGIN", str(path))


@pytest.mark.parametrize("platform", ["aws", "openwhisk", "sagemaker"])
def test_the_same_bundle_has_the_same_bytes(platform, bundle, tmp_path, small):
    first = deploy(platform, bundle, tmp_path / "a")
    elsewhere = shutil.copytree(bundle, tmp_path / "bundle")
    second = deploy(platform, elsewhere, tmp_path / "b")
    assert first.files == second.files
    for name in first.files:
        left, right = first.directory / name, second.directory / name
        assert left.is_dir() or left.read_bytes() == right.read_bytes(), name


def test_templates_of_sam_pass_its_linter(zipped, bundle, tmp_path):
    image = deploy("aws", bundle, tmp_path / "image", container=True)
    assert zipped.files == ("function.zip", "template.yaml")
    where = tools.package(*CFN_LINT)
    environment = {**os.environ, "PYTHONPATH": str(where)}
    for done in (zipped, image):
        path = done.directory / "template.yaml"
        program = where / "bin" / "cfn-lint"
        command = [sys.executable, "-W", "ignore", program, "--regions", "eu-central-1", "--"]
        said = subprocess.run([*command, path], env=environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


TRANSLATE = """
import json, sys
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(open(sys.argv[1]).read())
template["Resources"]["Model"]["Properties"]["CodeUri"] = "s3://uploaded/function.zip"
print(json.dumps(Translator({}, Parser()).translate(template, {})))
"""


def test_a_function_of_lambda_may_do_nothing_that_it_was_not_asked_for(zipped):
    """By the translator of SAM itself: what is there where no parameter is given, and where."""
    environment = {**os.environ, "PYTHONPATH": str(tools.package(*SAM)),
                   "AWS_DEFAULT_REGION": "eu-central-1"}  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", TRANSLATE, zipped.directory / "template.yaml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(each["Default"] == "" for each in found["Parameters"].values())
    resources = found["Resources"]
    always = {name for name, each in resources.items() if "Condition" not in each}
    assert always == {"Model", "ModelRole", "ModelUrl"}
    (only,) = resources["ModelRole"]["Properties"]["ManagedPolicyArns"]
    assert only.endswith("AWSLambdaBasicExecutionRole")
    mapping = resources["Messages"]["Properties"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert resources["Messages"]["Condition"] == resources["MayTakeMessages"]["Condition"]
    allowed = {
        name: (each["Condition"], each["Properties"]["PolicyDocument"]["Statement"][0]["Action"])
        for name, each in resources.items() if each["Type"] == "AWS::IAM::Policy"
    }  # fmt: skip
    assert allowed == {
        "MayReadObjects": ("HasBucket", "s3:GetObject"),
        "MayTakeMessages": (
            "HasQueue", ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
        ),
        "MayWriteAnswers": ("Writes", "s3:PutObject"),
    }  # fmt: skip


def test_a_probe_of_readiness_asks_whether_it_is_ready(bundle, tmp_path):
    folder = deploy("knative", bundle, tmp_path / "knative").directory
    (one,) = yaml.safe_load((folder / "service.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    health = yaml.safe_load((folder / "func.yaml").read_text())["deploy"]["healthEndpoints"]
    assert health == {"liveness": "/healthz", "readiness": "/readyz"}
    folder = deploy("openfaas", bundle, tmp_path / "openfaas", timeout=77).directory
    (function,) = yaml.safe_load((folder / "stack.yaml").read_text())["functions"].values()
    assert function["annotations"]["com.openfaas.ready.http.path"] == "/readyz"
    assert function["environment"] == {"LAMDA_MAX_SECONDS": "77"}  # there is no watchdog inside


def test_azure_is_told_the_language_that_no_file_tells(bundle, tmp_path):
    """Else its tool ends: "Can't determine project language from files"."""
    assert deploy("azure", bundle, tmp_path).command[0].endswith("publish tiny-na-ve --python")


def test_what_google_is_sent_is_what_its_image_needs(bundle, tmp_path):
    """The bundle of a ref lies in the same folder, and would be sent twice."""
    out = tmp_path / "out"
    shutil.copytree(bundle, out / "bundle")
    deploy("gcp", out / "bundle", out)
    # .gcloudignore has the rules of .gitignore.
    subprocess.run(["git", "init", "--quiet", out], check=True)
    command = ["git", "ls-files", "--others", "--exclude-from=.gcloudignore"]
    said = subprocess.run(command, cwd=out, capture_output=True, text=True, check=True)
    sent = set(said.stdout.split())
    assert {"Dockerfile", "requirements.txt", "app/main.py", "app/bundle/manifest.json"} <= sent
    assert not any(name.startswith("bundle/") for name in sent)


def test_a_deployment_is_not_written_into_its_bundle(bundle, tmp_path):
    own = shutil.copytree(bundle, tmp_path / "bundle")
    before = sorted(own.rglob("*"))
    with pytest.raises(SpecError) as error:
        deploy("knative", own, tmp_path / "elsewhere" / ".." / "bundle")
    assert str(error.value) == (
        f"{own} is the bundle itself: expected another directory to write the deployment to. "
        "Nothing was written."
    )
    assert sorted(own.rglob("*")) == before


def test_the_archive_of_sagemaker_is_the_bundle(bundle, tmp_path):
    done = deploy("sagemaker", bundle, tmp_path / "out")
    with tarfile.open(done.directory / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    x = rows(2, 4)
    answer = json.loads(serve.load(tmp_path / "model")(body(x)))
    np.testing.assert_allclose(answer, model(x), rtol=1e-5, atol=1e-6)
    assert not (done.directory / "app" / "bundle").exists()


def images():
    for platform, ways in PLATFORMS.items():
        if platform not in ("azure", "ray"):
            yield platform, len(ways) > 1


@pytest.mark.parametrize(("platform", "container"), list(images()))
def test_an_image_has_all_that_its_dockerfile_names(platform, container, bundle, tmp_path):
    done = deploy(
        platform, bundle, tmp_path, container=container, registry="registry.example/team/"
    )
    lines = (done.directory / "Dockerfile").read_text().splitlines()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"FROM python:{version}-slim" in lines
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    assert copied == ["requirements.txt", "app"]
    assert all((done.directory / name).exists() for name in copied)
    command = json.loads(next(x for x in lines if x.startswith(START)).removeprefix(START))
    assert command[:2] == ["python", "-m"]
    image = f"registry.example/team/tiny-na-ve:{model.address.removeprefix('sha256:')[:12]}"
    named = [text for text in done.command if "registry.example" in text]
    assert platform in ("aws", "gcp", "openfaas") or image in named[0]
    written = [p.read_text() for p in done.directory.glob("*.y*ml")]
    assert platform not in ("knative", "kserve", "openfaas") or any(image in x for x in written)


def test_a_service_image_answers_from_its_folder_alone(bundle, tmp_path):
    """The command of the image, where the image would have put it, without building one."""
    done = deploy("knative", bundle, tmp_path / "out")
    app = done.directory / "app"
    python, path = alone(tmp_path)
    x = rows(2, 4)
    request = tmp_path / "request.json"
    request.write_bytes(body(x))
    said = subprocess.run(
        [python, "-m", "serve", "bundle", "--request", request],
        cwd=app, env=path, capture_output=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose(json.loads(said.stdout), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["knative", "kserve", "openfaas", "ray"])
def test_yaml_says_name_address_and_what_was_asked_for(platform, bundle, tmp_path):
    done = deploy(platform, bundle, tmp_path, name="other", memory=1024, timeout=77)
    texts = {p.name: p.read_text() for p in done.directory.glob("*.y*ml")}
    for text in texts.values():
        assert yaml.safe_load(text)
        assert "other" in text
    assert platform == "ray" or all(model.address in text for text in texts.values())
    assert platform == "ray" or all("1024Mi" in text for text in texts.values())
    assert platform == "ray" or any("77" in text for text in texts.values())


def test_azure_gets_a_function_app(bundle, tmp_path):
    done = deploy("azure", bundle, tmp_path, timeout=90)
    host = json.loads((done.directory / "host.json").read_text())
    assert (host["version"], host["functionTimeout"]) == ("2.0", "00:01:30")
    compile((done.directory / "function_app.py").read_text(), "function_app.py", "exec")
    assert (done.directory / "bundle" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("platform", "options", "message"),
    [
        (
            "aws",
            {"memory": 20_000},
            "the function asks for 20,000 MB, 9,760 more than the 10,240 that aws-lambda-zip "
            "takes. Give memory= less. Nothing was written.",
        ),
        (
            "aws",
            {"memory": 100, "container": True},
            "the function asks for 100 MB, 28 less than the 128 that aws-lambda-image begins at. "
            "Give memory= more. Nothing was written.",
        ),
        (
            "gcp",
            {"timeout": 4000},
            "an answer may take 4,000 seconds, 400 more than the 3,600 that cloud-run takes. "
            "Give timeout= less. Nothing was written.",
        ),
        (
            "heroku",
            {},
            "platform 'heroku' is not known; lamda deploys to aws, azure, gcp, knative, kserve, "
            "openfaas, openwhisk, ray, sagemaker",
        ),
        ("ray", {"container": True}, "ray has no container=True: it is deployed in one way"),
    ],
)
def test_what_breaks_a_limit_is_refused_with_the_excess(
    platform, options, message, bundle, tmp_path
):
    with pytest.raises(SpecError) as error:
        deploy(platform, bundle, tmp_path / "out", **options)
    assert str(error.value) == message
    assert not (tmp_path / "out").exists()


def test_a_function_that_is_too_large_is_refused_before_it_is_written(bundle, tmp_path):
    found = contents(serve.bundle.read(str(bundle)))
    most = limits.of("openwhisk")["package"]
    with pytest.raises(SpecError) as error:
        deploy("openwhisk", bundle, tmp_path / "out")
    excess = found.size.total - most
    assert f"{found.size.total:,} bytes, {excess:,} more than the {most:,}" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_model_whose_smallest_request_is_too_large_is_refused(tmp_path):
    wide = lm.lift(lambda x: x.sum(axis=1), input="float32[b, 400000]", name="wide")
    lm.bundle(wide, tmp_path / "bundle", batch=1)
    with pytest.raises(SpecError) as error:
        deploy("openwhisk", tmp_path / "bundle", tmp_path / "out", container=True)
    assert "the smallest request has 1,600,000 bytes, 551,424 more than" in str(error.value)
    assert deploy("gcp", tmp_path / "bundle", tmp_path / "out").files


def test_every_limit_has_a_source_and_the_data_a_date():
    data = tomllib.loads(limits.DATA.read_text())
    assert data.pop("read").isoformat() >= "2026-11-01"
    assert all(entry["source"].startswith("https://") for entry in data.values())
    used = {way.limit for ways in PLATFORMS.values() for way in ways} - {None}
    assert used == set(data)


def test_the_command_deploys_a_version_of_a_store(tmp_path, capsys):
    from lamda.cli import main

    store = lm.Store(tmp_path / "store")
    store.put(model, ref="tiny")
    out = tmp_path / "out"
    command = ["deploy", "knative", "tiny", "--store", str(tmp_path / "store"), "--batch", "1"]
    assert main([*command, "--out", str(out), "--memory", "512"]) == 0
    said = capsys.readouterr().out
    assert f"kubectl apply -f {out}/service.yaml" in said
    assert model.address in (out / "service.yaml").read_text()
    before = {p.name for p in (out / "app" / "bundle" / "executables").iterdir()}
    assert main([*command, "--out", str(out)]) == 0
    assert {p.name for p in (out / "app" / "bundle" / "executables").iterdir()} == before
    assert main(["deploy", "heroku", "none such", "--store", str(tmp_path / "store"),
                 "--out", str(out)]) == 1  # fmt: skip
    assert "lamda deploys to aws, azure" in capsys.readouterr().err


def test_the_command_knows_every_platform():
    assert list(deploying.PLATFORMS) == list(PLATFORMS)


def alone(tmp_path: Path, *packages: tuple[str, str]) -> tuple[str, dict[str, str]]:
    """A Python with these packages and nothing of ours, and its environment."""
    python = bare(tmp_path / "python").split(":")[0] + "/python3"
    found = ":".join(str(tools.package(*each)) for each in packages)
    cache = str(tmp_path / "cache")
    return python, {"PATH": os.environ["PATH"], "PYTHONPATH": found, "LAMDA_CACHE": cache}


def test_a_function_of_google_answers_from_its_folder_alone(bundle, tmp_path):
    done = deploy("gcp", bundle, tmp_path / "out")
    python, environment = alone(tmp_path, ("functions-framework", "3.10.2"))
    port = tools.free_port()
    command = [python, "-m", "functions_framework", "--target", "http",
               "--source", str(done.directory / "app" / "main.py"), "--host", "127.0.0.1",
               "--port", str(port)]  # fmt: skip
    x = rows(2, 4)
    with tools.running(command, port, tmp_path / "log", environment):
        answer = httpx.post(f"http://127.0.0.1:{port}/", content=body(x), timeout=60)
    np.testing.assert_allclose(answer.json(), model(x), rtol=1e-5, atol=1e-6)
    assert answer.headers["lamda-address"] == model.address


AZURE = """
import sys, function_app, azure.functions as func
(function,) = function_app.app.get_functions()
request = func.HttpRequest(method="POST", url="/", headers={"content-type": "application/json"},
                           route_params={}, body=sys.stdin.buffer.read())
print(function.get_user_function()(request).get_body().decode())
"""


def test_a_function_app_of_azure_answers_from_its_folder_alone(bundle, tmp_path):
    done = deploy("azure", bundle, tmp_path / "out")
    python, environment = alone(tmp_path, ("azure-functions", "1.26.0"))
    x = rows(2, 4)
    said = subprocess.run(
        [python, "-c", AZURE], cwd=done.directory, env=environment, input=body(x),
        capture_output=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose(json.loads(said.stdout), model(x), rtol=1e-5, atol=1e-6)


def test_an_action_of_openwhisk_answers_from_its_zip(bundle, tmp_path, small):
    """With a plugin that fits, which no known one does: the real one is named when it runs."""
    real = next(plugins.installed(["cpu"])).path
    done = deploy("openwhisk", bundle, tmp_path / "out")
    python, environment = alone(tmp_path)
    x = rows(2, 4)
    code = (
        "import json, runpy, sys; found = runpy.run_path(sys.argv[1], run_name='action'); "
        "print(json.dumps(found['main']({'value': json.load(sys.stdin)})))"
    )
    with zipfile.ZipFile(done.directory / "action.zip") as archive:
        archive.extractall(tmp_path / "action")
    said = subprocess.run(
        [python, "-c", code, tmp_path / "action" / "__main__.py"], cwd=tmp_path / "action",
        env=environment | {"LAMDA_PJRT_PLUGIN": real}, input=body(x), capture_output=True,
        check=True,
    )  # fmt: skip
    np.testing.assert_allclose(json.loads(said.stdout)["value"], model(x), rtol=1e-5, atol=1e-6)


def test_a_zip_that_is_too_large_is_refused_with_the_excess_and_leaves_nothing(
    bundle, tmp_path, monkeypatch
):
    (tmp_path / "plugin.so").write_bytes(random.Random(0).randbytes(40_000_000))
    monkeypatch.setenv("LAMDA_PJRT_PLUGIN", str(tmp_path / "plugin.so"))
    with pytest.raises(SpecError) as error:
        deploy("openwhisk", bundle, tmp_path / "out")
    told = re.fullmatch(
        r"the zip has ([0-9,]+) bytes, ([0-9,]+) more than the 37,748,736 that openwhisk takes. "
        r"Make an image with container=True. Nothing was written.",
        str(error.value),
    )
    size, excess = (int(number.replace(",", "")) for number in told.groups())
    assert size - excess == 37_748_736
    assert not (tmp_path / "out").exists()


def test_what_a_deployment_wrote_is_replaced_and_what_else_is_there_stays(bundle, tmp_path):
    deploy("knative", bundle, tmp_path, memory=512)
    (tmp_path / "app" / "stale").touch()
    (tmp_path / "mine").touch()
    deploy("knative", bundle, tmp_path, memory=1024)
    assert "1024Mi" in (tmp_path / "service.yaml").read_text()
    assert (tmp_path / "mine").exists()
    assert not (tmp_path / "app" / "stale").exists()
    assert not list(tmp_path.glob(".draft*"))


def test_limits_of_a_bundle_are_the_same_data(tmp_path):
    with pytest.raises(SpecError, match="that openwhisk takes: runtime"):
        lm.bundle(model, tmp_path / "bundle", batch=1, limit="openwhisk")
    with pytest.raises(SpecError, match="platform 'moon' is not known; those with a limit are"):
        lm.bundle(model, tmp_path / "bundle", batch=1, limit="moon")
    assert lm.bundle(model, tmp_path / "bundle", batch=1, limit="cloud-run").added


def test_text_goes_in_with_the_tokenizer_that_came_along(tmp_path, small, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    type = {"ids": "int32[b, t]", "mask": "int32[b, t]"}
    counts = lm.lift(lambda x: (x["ids"] * x["mask"]).sum(axis=1), input=type, name="counts")
    found = tmp_path / "bundle"
    with monkeypatch.context() as real:
        real.delenv("LAMDA_PJRT_PLUGIN")
        lm.bundle(counts, found, batch=1, t=8, tokenizer=made.to_str().encode())
    done = deploy("aws", found, tmp_path / "out")
    with zipfile.ZipFile(done.directory / "function.zip") as archive:
        archive.extractall(tmp_path / "task")
    python, environment = alone(tmp_path)
    said = subprocess.run(
        [python, "-m", "serve", "bundle", "--request", "-"], cwd=tmp_path / "task",
        env=environment | {"LAMDA_PJRT_PLUGIN": next(plugins.installed(["cpu"])).path},
        input=b'{"text": "a b b"}', capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(said.stdout) == [5]
    image = deploy("knative", found, tmp_path / "image").directory
    assert not (image / "app" / "tokenizers").exists()
    assert f"tokenizers=={version('tokenizers')}\n" in (image / "requirements.txt").read_text()


def test_a_large_model_asks_for_the_memory_of_its_weights(tmp_path, small, monkeypatch):
    weights = {"w": np.ones((1024, 1024, 80), np.float32)}  # 320 MB
    big = lm.lift(lambda w, x: x + w["w"][0, 0, 0], weights, input="float32[b]", name="big")
    with monkeypatch.context() as real:
        real.delenv("LAMDA_PJRT_PLUGIN")
        lm.bundle(big, tmp_path / "bundle", batch=1)
    deploy("knative", tmp_path / "bundle", tmp_path / "out")
    assert "2048Mi" in (tmp_path / "out" / "service.yaml").read_text()
    with pytest.raises(SpecError) as error:
        deploy("openwhisk", tmp_path / "bundle", tmp_path / "action", container=True)
    assert str(error.value).startswith("the function asks for 576 MB, 64 more than the 512 that")


def test_an_image_can_be_read_by_the_user_it_runs_as(bundle, tmp_path):
    before = os.umask(0o077)
    try:
        folder = deploy("knative", bundle, tmp_path / "out").directory
    finally:
        os.umask(before)
    for path in (folder / "app", *(folder / "app").rglob("*")):
        needed = 0o005 if path.is_dir() else 0o004
        assert path.stat().st_mode & needed == needed, path
    lines = (folder / "Dockerfile").read_text().splitlines()
    assert next(i for i, x in enumerate(lines) if x.startswith("USER")) > lines.index(
        "COPY app /app"
    )


def test_what_is_written_can_be_edited_without_changing_what_is_installed(bundle, tmp_path):
    done = deploy("knative", bundle, tmp_path)
    for name in ("serve/handler.py", "msgpack/fallback.py", "bundle/manifest.json"):
        assert (done.directory / "app" / name).stat().st_nlink == 1
