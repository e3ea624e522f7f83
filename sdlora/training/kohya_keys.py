"""The keys of kohya's sd-scripts, and what they are called here."""

from typing import Any

# What sd-scripts do where nothing is said, in a training of a LoRA; ours would choose otherwise.
THEIR_DEFAULTS: dict[str, Any] = {
    "batch_size": 1,
    "rank": 4,
    "alpha": 1.0,
    "targets": ["attention", "feed_forward", "text_attention", "text_mlp"],
    "schedule": "constant",
    "warmup": 0,
    "caption_dropout": 0.0,
    "flip": False,
    "buckets": False,
    "prior_preservation": 0.0,
}
SAME = {
    "output_name": "name",
    "output_dir": "workspace",
    "pretrained_model_name_or_path": "base",
    "train_data_dir": "images",
    "image_dir": "images",
    "reg_data_dir": "class_images",
    "prior_loss_weight": "prior_preservation",
    "seed": "seed",
    "train_batch_size": "batch_size",
    "batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "gradient_checkpointing": "gradient_checkpointing",
    "max_train_steps": "steps",
    "max_train_epochs": "epochs",
    "epoch": "epochs",
    "network_dim": "rank",
    "network_alpha": "alpha",
    "network_dropout": "dropout",
    "learning_rate": "learning_rate",
    "unet_lr": "learning_rate",
    "min_snr_gamma": "min_snr_gamma",
    "debiased_estimation_loss": "debiased",
    "noise_offset": "offset_noise",
    "huber_c": "huber_delta",
    "huber_schedule": "huber_schedule",
    "min_timestep": "timestep_min",
    "max_timestep": "timestep_max",
    "enable_bucket": "buckets",
    "bucket_reso_steps": "bucket_step",
    "min_bucket_reso": "bucket_min",
    "max_bucket_reso": "bucket_max",
    "flip_aug": "flip",
    "masked_loss": "masked",
    "alpha_mask": "masked",
    "shuffle_caption": "shuffle_tags",
    "keep_tokens": "keep_tags",
    "caption_dropout_rate": "caption_dropout",
    "caption_tag_dropout_rate": "tag_dropout",
    "caption_prefix": "caption_prefix",
    "caption_suffix": "caption_suffix",
    "save_every_n_steps": "checkpoint_every",
    "save_last_n_steps": "keep_checkpoints",
    "sample_every_n_steps": "sample_every",
}
# Decided here by what is there, or always so; nothing is lost without them.
NEEDLESS = {
    *("cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"),
    *("xformers", "sdpa", "mem_eff_attn", "no_half_vae", "lowram", "highvram", "vae_batch_size", "cache_info"),
    *("max_data_loader_n_workers", "persistent_data_loader_workers", "num_cpu_threads_per_process"),
    *("save_state", "save_state_on_train_end", "sample_at_first", "skip_cache_check", "console_log_level"),
    *("v2", "sdxl", "LoRA_type", "base_weights_multiplier"),
}
WORDS: dict[str, tuple[str, dict[Any, Any]]] = {
    "network_module": ("kind", {"networks.lora": "lora", "lycoris.kohya": "locon"}),
    "mixed_precision": ("precision", {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    "save_precision": ("save_dtype", {"float": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    "loss_type": ("loss", {"l2": "l2", "huber": "huber", "smooth_l1": "smooth_l1"}),
    "v_parameterization": ("prediction_type", {True: "v_prediction"}),
    "zero_terminal_snr": ("zero_terminal_snr", {True: True}),
    "bucket_no_upscale": ("upscale", {True: False}),
    "network_train_unet_only": ("targets", {True: ["attention", "feed_forward"]}),
    "network_train_text_encoder_only": ("targets", {True: ["text_attention", "text_mlp"]}),
    "log_with": ("trackers", {"tensorboard": ["tensorboard"], "wandb": ["wandb"]}),
    "use_8bit_adam": ("optimiser", {True: "adamw8bit"}),
    "use_lion_optimizer": ("optimiser", {True: "lion"}),
}
# What LyCORIS' presets adapt, without and with its usual convolutions.
LYCORIS_TARGETS = {
    "full": ["attention", "feed_forward", "convolutions", "text_attention", "text_mlp"],
    "attn-mlp": ["attention", "feed_forward", "text_attention", "text_mlp"],
    "attn-only": ["attention", "text_attention"],
}
OPTIMISERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "lion": "lion",
    "adafactor": "adafactor",
    "prodigy": "prodigy",
    "adamwschedulefree": "schedule-free",
}
NEUTRAL = {
    "noise_offset_type": "Original",
    "clip_skip": 1,
    "max_token_length": 75,
    "save_model_as": "safetensors",
}
HINTS = {
    "class_tokens": "trigger = … puts words in front of captions, also of those that there are",
    "num_repeats": "name the folder REPEATS_NAME instead, such as 10_cat",
    "random_crop": "crops = 4 makes fixed random crops beside the middle",
    "save_every_n_epochs": "checkpoint_every counts steps",
    "sample_every_n_epochs": "sample_every counts steps",
    "network_args": "there are conv_dim and conv_alpha as the others, algo (lora, loha, lokr), preset, factor, dora_wd "
    "and loraplus_lr_ratio; block_ranks and block_learning_rates name other ranks and rates here",
    "sample_prompts": "a text file is read, with one prompt a line",
    "lr_scheduler_type": "schedule names diffusers' own",
}
