from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import RecipeError
from toolkit.recipe import Recipe, load, variants_of

TEXT = """\
name: small
checkpoint: {path: nvfp4, tokenizer: words}
target: {runtime: cpu}
engine: {output: build/small}
serve: {repository: build/small.triton}
bench:
  output: results
  variants:
    - {name: plain}
    - {name: bf16, set: {checkpoint.path: ../other, engine.max_batch_size: 4}}
"""


def recipe(tmp_path: Path, text: str = TEXT) -> Recipe:
    path = tmp_path / "recipes" / "small.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load(path)


def test_each_variant_is_the_recipe_with_some_keys_changed(tmp_path: Path) -> None:
    base = recipe(tmp_path)
    found = variants_of(base)
    assert list(found) == ["plain", "bf16"]
    plain, bf16 = found.values()
    outputs = {"output": Path("build/small-plain")}, {"repository": Path("build/small.triton-plain")}
    assert plain == base.model_copy(
        update={
            "engine": base.engine.model_copy(update=outputs[0]),
            "serve": base.serve.model_copy(update=outputs[1]),
            "bench": base.bench.model_copy(update={"variants": ()}),
        }
    )
    # an input counts from the recipe's folder, and a new source takes its tokenizer along
    assert (bf16.checkpoint.path, bf16.checkpoint.tokenizer) == (tmp_path / "other", None)
    assert (bf16.engine.max_batch_size, bf16.engine.output) == (4, Path("build/small-bf16"))


def test_a_recipe_without_variants_is_its_own(tmp_path: Path) -> None:
    alone = recipe(tmp_path, TEXT.partition("  variants")[0])
    assert variants_of(alone) == {"default": alone}


def test_a_resolved_recipe_keeps_its_variants(tmp_path: Path) -> None:
    base = recipe(tmp_path)
    assert recipe(tmp_path / "recipes", base.to_yaml()).bench.variants == base.bench.variants


def test_llm_args_have_the_types_of_yaml(tmp_path: Path) -> None:
    text = TEXT.replace("{runtime: cpu}", "{runtime: tensorrt-llm, release: 1.2.1, gpu: b200}")
    text = text.replace("engine.max_batch_size: 4", "engine.llm_args.enable_attention_dp: 'true'")
    assert variants_of(recipe(tmp_path, text))["bf16"].engine.llm_args == {"enable_attention_dp": True}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: bf16", "name: plain", "bench.variants: the variant 'plain' stands twice. Rename one"),
        ("engine.max_batch_size: 4", "engine.max_batch_size: 0", "engine.max_batch_size: engine.max_batch_size: input"),
        ("engine.max_batch_size: 4", "engine.max_batchsize: 4", "unknown key 'engine.max_batchsize'. Did you mean"),
        ("engine.max_batch_size: 4", "bench.seed: 4", "bf16: bench.seed: not a key that a variant can set. A variant"),
        ("engine.max_batch_size: 4", "engine: 4", "bf16: engine: not a key that a variant can set. A variant sets"),
        (
            "engine.max_batch_size: 4",
            "engine.output: build/small-plain",
            "bench.variants: the variants plain and bf16 would both be in build/small-plain. Give each",
        ),
    ],
)
def test_variants_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    base = recipe(tmp_path, TEXT.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        variants_of(base)
    assert message in str(caught.value)


def test_a_misspelt_key_of_a_variant(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'bench.variants.0.nam'. Did you mean 'name'\?"):
        recipe(tmp_path, TEXT.replace("name: plain", "nam: plain"))
