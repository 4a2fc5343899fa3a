"""SegFormer against transformers and segmentation-models-pytorch."""

import torch
from torch import nn
from torch.nn import functional as F

from segbook.certificates.parity import ATTENTION, Pair, without_aligned_corners
from segkit.backbones.mit import mit_b0, mit_b1
from segkit.models.segformer import SegFormer, segformer_b0


def hf_segformer(channels):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(
        SegformerConfig(hidden_sizes=list(channels), num_labels=5)
    )


def run_hf(model, images):
    logits = model(images).logits
    return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


class KeysAndValues(nn.Module):
    """Two layers in the place of their one."""

    def __init__(self, joint):
        super().__init__()
        self.k, self.v = (nn.Linear(joint.in_features, joint.in_features) for _ in range(2))

    def forward(self, x):
        return torch.cat([self.k(x), self.v(x)], dim=-1)


def smp_segformer():
    import segmentation_models_pytorch as smp

    model = smp.Segformer("mit_b0", encoder_weights=None, classes=5)
    for module in list(model.modules()):
        if hasattr(module, "kv"):
            module.kv = KeysAndValues(module.kv)
    return model


HF_KEYS = [
    (r"^backbone\.stages\.", "segformer.stages."),
    (r"\.embed\.conv\.", ".patch_embeddings.proj."),
    (r"\.embed\.norm\.", ".patch_embeddings.layer_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attention\.([qkv])\.", r".attention.\1_proj."),
    (r"\.attention\.project\.", ".attention.o_proj."),
    (r"\.attention\.reduce\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.ffn\.expand\.", ".mlp.fc1."),
    (r"\.ffn\.depthwise\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.project\.", ".mlp.fc2."),
    (r"(stages\.\d)\.norm\.", r"\1.layer_norm."),
    (r"^decoder\.linear\.(\d)\.", r"decode_head.linear_projections.\1.proj."),
    (r"^decoder\.fuse\.conv\.", "decode_head.linear_fuse."),
    (r"^decoder\.fuse\.bn\.", "decode_head.batch_norm."),
    (r"^head\.", "decode_head.classifier."),
]
# They number from 1, and the decoder's layers from the deepest stage.
SMP_STAGES = [
    (r"embed\.conv\.", "encoder.patch_embed{}.proj."),
    (r"embed\.norm\.", "encoder.patch_embed{}.norm."),
    (r"blocks\.", "encoder.block{}."),
    (r"norm\.", "encoder.norm{}."),
]
SMP_KEYS = [
    *(
        (rf"^backbone\.stages\.{i}\.{ours}", theirs.format(i + 1))
        for ours, theirs in SMP_STAGES
        for i in range(4)
    ),
    (r"\.attention\.([kv])\.", r".attn.kv.\1."),
    (r"\.attention\.q\.", ".attn.q."),
    (r"\.attention\.project\.", ".attn.proj."),
    (r"\.attention\.reduce\.", ".attn.sr."),
    (r"\.attention\.norm\.", ".attn.norm."),
    (r"\.ffn\.expand\.", ".mlp.fc1."),
    (r"\.ffn\.depthwise\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.project\.", ".mlp.fc2."),
    *((rf"^decoder\.linear\.{i}\.", f"decoder.mlp_stage.{3 - i}.linear.") for i in range(4)),
    (r"^decoder\.fuse\.conv\.", "decoder.fuse_stage.0."),
    (r"^decoder\.fuse\.bn\.", "decoder.fuse_stage.1."),
    (r"^head\.", "segmentation_head.0."),
]

SIZE = (100, 140)
"""Maps of 25x35, 13x18 and 7x9, none of which its reduction divides; smp refuses such sizes."""

PAIRS = [
    *(
        Pair(
            name=f"segformer_{size}",
            package="transformers",
            reference=f"transformers.SegformerForSemanticSegmentation({size!r})",
            ours=lambda mit=mit: SegFormer(mit(eps=1e-5), num_classes=5, decoder_channels=256),
            theirs=lambda channels=channels: hf_segformer(channels),
            run_theirs=run_hf,
            keys=HF_KEYS,
            stages={
                f"c{i + 2}": (f"backbone.stages.{i}", f"segformer.stages.{i}") for i in range(4)
            },
            size=SIZE,
            tolerance=ATTENTION,
            variant="eps of every LayerNorm 1e-5, where the release has 1e-6 in the blocks",
        )
        for size, mit, channels in [
            ("b0", mit_b0, (32, 64, 160, 256)),
            ("b1", mit_b1, (64, 128, 320, 512)),
        ]
    ),
    Pair(
        name="segformer_b0",
        package="segmentation_models_pytorch",
        reference="smp.Segformer('mit_b0')",
        ours=lambda: segformer_b0(num_classes=5),
        theirs=smp_segformer,
        run_theirs=without_aligned_corners,
        keys=SMP_KEYS,
        stages={
            **{f"c{i + 2}": (f"backbone.stages.{i}", f"encoder.norm{i + 1}") for i in range(4)},
            "decoder": ("decoder", "decoder"),
        },
        tolerance=ATTENTION,
        variant="their logits are enlarged without aligned corners, as in the release",
    ),
]
