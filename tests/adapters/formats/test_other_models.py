"""Files for models that are none of ours are refused by name; ours never are."""

import pytest
import torch
from safetensors.torch import save_file

from sdlora.adapters import load_adapter, tables
from sdlora.adapters.formats.other_models import kind_of
from sdlora.errors import Error

# Keys as they stand in files in the field, and the word that must be said.
FIELD = {
    "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight lora_unet_single_blocks_37_linear1.lora_up.weight": "Flux",
    "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": "Flux",
    "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight transformer.x_embedder.lora_A.weight": "Flux",
    "diffusion_model.double_blocks.3.txt_mod.lin.lora_A.weight": "Flux",
    "base_model.model.single_transformer_blocks.0.proj_mlp.lora_A.weight": "Flux",
    "double_blocks.0.processor.qkv_lora1.down.weight": "Flux",
    "lora_unet_distilled_guidance_layer_layers_0_in_layer.lora_down.weight": "Chroma",
    "diffusion_model.double_blocks.0.img_mlp.fc1.lora_A.weight": "Hunyuan Video",
    "lora_unet_single_blocks_0_modulation_linear.lora_down.weight": "Hunyuan Video",
    "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": "Stable Diffusion 3",
    "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight": "Stable Diffusion 3",
    "diffusion_model.joint_blocks.0.context_block.attn.qkv.lora_B.weight": "Stable Diffusion 3",
    "diffusion_model.blocks.0.cross_attn.k.lora_A.weight": "Wan",
    "lora_unet_blocks_0_self_attn_q.lora_down.weight lora_unet_blocks_0_ffn_0.alpha": "Wan",
    "blocks.0.cross_attn.k_img.lora_A.weight": "Wan",
    "transformer.blocks.0.ffn.net.0.proj.lora_A.weight": "Wan",
    "transformer_blocks.0.attn.to_q.lora_A.weight transformer_blocks.0.img_mlp.net.2.lora_B.weight": "Qwen",
    "lora_unet_transformer_blocks_0_img_mod_1.lora_down.weight": "Qwen",
    "lora_unet_blocks_0_cross_attn_kv_linear.lora_down.weight": "PixArt",
    "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": "PixArt",
    "diffusion_model.layers.0.attention.qkv.lora_A.weight": "Lumina",
    "lora_unet_noise_refiner_0_feed_forward_w1.lora_down.weight": "Lumina",
    "transformer.transformer_blocks.0.ff.conv_inverted.lora_A.weight": "Sana",
    "diffusion_model.double_stream_blocks.0.block.attn1.to_q.lora_A.weight": "HiDream",
    "transformer.joint_transformer_blocks.0.attn.to_q.lora_A.weight": "AuraFlow",
    "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.lora_A.weight": "AnimateDiff",
    "lora_prior_unet_down_blocks_0_1_channelwise_0.lora_down.weight": "Cascade",
    "unet.down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_q.lora_A.weight": "Video",
    "lllite_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.down.0.weight": "LLLite",
    "ip_adapter.1.to_k_ip.weight image_proj.proj.weight": "IP-Adapter",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": "language model",
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight": "T5",
    "model.diffusion_model.input_blocks.0.0.weight first_stage_model.decoder.conv_in.weight": "a base",
    "down_blocks.0.resnets.0.conv1.weight mid_block.attentions.0.proj_in.weight": "one network of a base",
    "text_model.encoder.layers.0.self_attn.q_proj.weight": "one network of a base",
    "control_model.input_blocks.0.0.weight": "ControlNet",
}


@pytest.mark.parametrize("keys", FIELD)
def test_it_is_refused_by_its_name(keys, tmp_path):
    save_file({key: torch.zeros(4, 4) for key in keys.split()}, tmp_path / "a.safetensors")
    with pytest.raises(Error) as caught:
        load_adapter(tmp_path / "a.safetensors")
    assert FIELD[keys] in str(caught.value) and "sdlora reads adapters for Stable Diffusion" in str(caught.value)


@pytest.mark.parametrize("family", tables.FAMILIES)
@pytest.mark.parametrize("ending", ["lora_down.weight", "lora_A.weight", "hada_w1_a", "diff"])
def test_no_name_of_ours_is_taken_for_another_models(family, ending):
    for row in tables.rows(family):
        dotted = row.path.replace("text_encoder.", "text_encoders.clip_l.transformer.")
        for name in (*row.names, row.path, row.path.split(".", 1)[1], dotted, f"base_model.model.{row.path}"):
            assert kind_of([f"{name}.{ending}"]) is None, name


def test_odd_keys_in_a_file_of_ours_do_not_lose_it(tmp_path):
    ours = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{ours}.lora_down.weight": torch.ones(2, 8), f"{ours}.lora_up.weight": torch.ones(8, 2)}
    odd = {"lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.ones(())}
    save_file(tensors | odd, tmp_path / "a.safetensors")
    read = load_adapter(tmp_path / "a.safetensors")
    assert len(read.updates) == 1 and read.report.unknown == tuple(odd)
