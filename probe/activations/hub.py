"""Uploading complete activations to a dataset of the Hugging Face hub, with a card made from their index."""

from collections.abc import Mapping

from probe.activations.store import ActivationStore
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family

CARD = """---
license: other
license_name: that-of-each-model
tags: [activations, residual-stream, interpretability, multilingual]
---
# Residual-stream activations of {family}

{description}

| variant | model | revision | dtype | device | stimuli | states | d_model | positions |
|---|---|---|---|---|---|---|---|---|
{rows}

`{family}/VARIANT/shard-NNNNN.safetensors` holds, for each read position p, `resid.p` float16
(n, n_states, d_model) with `scale.p` float32 (n, n_states), and `post_norm.p` float16 (n, d_model) with
`post_scale.p` float32 (n). A vector is `resid * scale`. State 0 is the embedding, state l the raw output of
block l, before the final norm; `post_norm` is after it. Positions: the `last` token, the last token of the
`content`, the `mean` over content tokens, the last token of the `focus` word (probes only). `index.json`
names the stimuli of each shard with its sha256, their token ids and the token indices read. The stimuli are
those of the manifest with sha256 `{manifest}`.

```python
from huggingface_hub import snapshot_download
from safetensors.numpy import load_file

folder = snapshot_download("{repo}", repo_type="dataset")
shard = load_file(f"{{folder}}/{family}/{first}/shard-00000.safetensors")
resid = shard["resid.mean"] * shard["scale.mean"][..., None]  # (n, n_states, d_model)
```

With aya-cross-lingual-probe, `probe.activations.ActivationStore(folder).resid("mean", stimulus_ids)` reads
the same, and checks each shard's sha256.

**Licence.** Activations are derived from the models and fall under the terms of each model's own licence.
Token ids can be decoded to the sentences; where those are of FLORES-200, they are CC-BY-SA-4.0 (NLLB Team
2022).
"""


def card(repo: str, family: Family, stores: Mapping[str, ActivationStore]) -> str:
    """The dataset's README, from the index of each variant's store."""
    rows = []
    for variant, store in stores.items():
        index = store.index
        some_id = next(iter(index.shards.values())).stimulus_ids[:1]
        positions = sorted({position for shard in index.shards.values() for position in shard.positions})
        cells = [
            variant,
            *(index.identity[key] for key in ("model", "revision", "dtype")),
            index.environment["device"],
            sum(len(shard.stimulus_ids) for shard in index.shards.values()),
            store.n_states,
            store.resid(PRIMARY_POSITION, some_id, state=0).shape[-1],
            ", ".join(positions),
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    first, store = next(iter(stores.items()))
    return CARD.format(
        family=family.name,
        description=family.description,
        rows="\n".join(rows),
        manifest=store.index.identity["manifest_sha256"],
        repo=repo,
        first=first,
    )


def push(repo: str, family: Family, stores: Mapping[str, ActivationStore]) -> str:
    """Upload in one commit, to a dataset that is private where it is new. Returns its address.

    The token is the one `hf auth login` or HF_TOKEN gave. Raises ProbeError where the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    files: dict[str, str | bytes] = {"README.md": card(repo, family, stores).encode()}
    for variant, store in stores.items():
        for path in [store.index_path, *map(store.path, store.index.shards)]:
            files[f"{family.name}/{variant}/{path.name}"] = str(path)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    message = f"{family.name}: {', '.join(stores)}"
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(repo, operations, commit_message=message, repo_type="dataset")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise ProbeError(
            f"cannot upload to {repo} ({type(error).__name__}); log in with `hf auth login` or set HF_TOKEN, "
            "to a token that may write there, and see that the name is ORG/NAME"
        ) from error
    return f"https://huggingface.co/datasets/{repo}"
