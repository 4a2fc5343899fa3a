"""DPT against transformers and segmentation-models-pytorch, its ViT against timm; all are small."""

from functools import partial
from unittest import mock

import torch
from torch import nn
from torchvision.models import VisionTransformer

from segbook.certificates.parity import ATTENTION, Pair
from segkit.backbones.vit import ViT
from segkit.models.dpt import DPT


def small_vit(*, depth=8, **arguments):
    network = VisionTransformer(
        image_size=48, patch_size=16, num_layers=depth, num_heads=4, hidden_dim=64, mlp_dim=128
    )
    return ViT(network, **arguments)


class Third(nn.Module):
    """One of queries, keys and values, from the layer that gives them all in torchvision."""

    def __init__(self, joint, index):
        super().__init__()
        self.joint = [joint]  # in a list, so that its tensors are not listed three times more
        self.index = index

    def forward(self, x):
        return self.joint[0](x).chunk(3, dim=-1)[self.index]


def hf_dpt(readout):
    from transformers import DPTConfig, DPTForSemanticSegmentation

    model = DPTForSemanticSegmentation(
        DPTConfig(
            hidden_size=64,
            num_hidden_layers=8,
            num_attention_heads=4,
            intermediate_size=128,
            image_size=48,
            layer_norm_eps=1e-6,
            backbone_out_indices=[1, 3, 5, 7],
            readout_type=readout,
            neck_hidden_sizes=[16, 24, 32, 48],
            fusion_hidden_size=32,
            use_batch_norm_in_fusion_residual=True,
            num_labels=5,
        )
    )
    for layer in model.dpt.encoder.layer:
        attention = layer.attention.attention
        attention.qkv = nn.Linear(64, 3 * 64)
        attention.query, attention.key, attention.value = (
            Third(attention.qkv, i) for i in range(3)
        )
    return model


def run_hf(model, images):
    """Give their aux head the map that the paper gives it, the last but one."""
    kept = []
    aux_head = model.auxiliary_head
    hooks = [
        model.neck.register_forward_hook(lambda module, args, maps: kept.append(maps[-2])),
        aux_head.register_forward_pre_hook(lambda module, args: (kept[0],)),
        aux_head.register_forward_hook(lambda module, args, logits: kept.append(logits)),
    ]
    logits = model(images).logits
    for hook in hooks:
        hook.remove()
    return {"logits": logits, "p3": kept[1]} if model.training else {"logits": logits}


HF_KEYS = [
    (r"^backbone\.class_token", "dpt.embeddings.cls_token"),
    (r"^backbone\.encoder\.pos_embedding", "dpt.embeddings.position_embeddings"),
    (r"^backbone\.conv_proj\.", "dpt.embeddings.patch_embeddings.projection."),
    (r"^backbone\.encoder\.layers\.encoder_layer_(\d)\.", r"dpt.encoder.layer.\1."),
    (r"\.ln_1\.", ".layernorm_before."),
    (r"\.ln_2\.", ".layernorm_after."),
    (r"\.self_attention\.in_proj_", ".attention.attention.qkv."),
    (r"\.self_attention\.out_proj\.", ".attention.output.dense."),
    (r"\.mlp\.0\.", ".intermediate.dense."),
    (r"\.mlp\.3\.", ".output.dense."),
    (
        r"^reassemble\.(\d)\.readout\.project\.0\.",
        r"neck.reassemble_stage.readout_projects.\1.0.",
    ),
    (r"^reassemble\.(\d)\.project\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^reassemble\.(\d)\.resample\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"^reassemble\.(\d)\.smooth\.", r"neck.convs.\1."),
    *((rf"^fuse{5 - i}\.", f"neck.fusion_stage.layers.{i}.") for i in range(4)),
    (r"\.refine_skip\.", ".residual_layer1."),
    (r"\.refine\.", ".residual_layer2."),
    (r"\.conv([12])\.conv\.", r".convolution\1."),
    (r"\.conv([12])\.bn\.", r".batch_norm\1."),
    (r"(layers\.\d)\.project\.", r"\1.projection."),
    (r"^head\.", "head.head."),
    (r"^aux_head\.", "auxiliary_head.head."),
]


def without_aux_head(readout):
    model = DPT(
        small_vit(depth=12),
        num_classes=5,
        reassemble_channels=(16, 24, 32, 48),
        decoder_channels=32,
        readout=readout,
    )
    model.aux_head = nn.Identity()
    return model


def smp_dpt(readout):
    import segmentation_models_pytorch as smp

    model = smp.DPT(
        "tu-vit_base_patch16_224",
        encoder_weights=None,
        decoder_readout=readout,
        decoder_intermediate_channels=(16, 24, 32, 48),
        decoder_fusion_channels=32,
        classes=5,
        img_size=48,
        dynamic_img_size=True,
        embed_dim=64,
        num_heads=4,
        mlp_ratio=2,
        num_classes=0,
    )
    # The release has this unit too, but never calls it; smp does.
    model.decoder.fusion_blocks[0].residual_conv_block1 = nn.Identity()
    return model


def run_smp(model, images):
    """Resize their position embeddings as the release does; timm's own rule is bicubic."""
    from timm.models import vision_transformer as timm_vit_module

    bilinear = partial(
        timm_vit_module.resample_abs_pos_embed, interpolation="bilinear", antialias=False
    )
    with mock.patch.object(timm_vit_module, "resample_abs_pos_embed", bilinear):
        return model(images)


def timm_vit():
    import timm

    return timm.models.vision_transformer.VisionTransformer(
        img_size=48, embed_dim=64, depth=8, num_heads=4, mlp_ratio=2, num_classes=0
    )


def run_timm(model, images):
    maps = model.forward_intermediates(
        images, indices=[1, 3, 5, 7], return_prefix_tokens=True, intermediates_only=True
    )
    return pair_up([(patches, prefix[:, 0]) for patches, prefix in maps[:3]] + [last(model, maps)])


def last(model, maps):
    patches, prefix = maps[3]
    normal = model.norm(torch.cat([prefix, patches.flatten(2).mT], dim=1))
    return normal[:, 1:].mT.reshape(patches.shape), normal[:, 0]


def pair_up(stages):
    names = ("c2", "c3", "c4", "c5")
    maps = {name: patches for name, (patches, _) in zip(names, stages, strict=True)}
    return maps | {f"{name} class": token for name, (_, token) in zip(names, stages, strict=True)}


TIMM_KEYS = [
    (r"^class_token", "cls_token"),
    (r"^encoder\.pos_embedding", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^encoder\.ln\.", "norm."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
]

SMP_KEYS = [
    (r"^backbone\.", ""),
    *TIMM_KEYS,
    (r"^reassemble\.(\d)\.readout\.", r"decoder.projection_blocks.\1."),
    (r"^reassemble\.(\d)\.project\.", r"decoder.reassemble_blocks.\1.project_to_out_channel."),
    (r"^reassemble\.(\d)\.resample\.", r"decoder.reassemble_blocks.\1.upsample."),
    (r"^reassemble\.(\d)\.smooth\.", r"decoder.reassemble_blocks.\1.project_to_feature_dim."),
    *((rf"^fuse{5 - i}\.", f"decoder.fusion_blocks.{i}.") for i in range(4)),
    (r"\.refine_skip\.", ".residual_conv_block1."),
    (r"\.refine\.", ".residual_conv_block2."),
    (r"\.conv([12])\.conv\.", r".conv_\1."),
    (r"\.conv([12])\.bn\.", r".batch_norm_\1."),
    (r"^head\.", "segmentation_head.head."),
    (r"^(?!decoder\.|segmentation_head\.)", "encoder.model."),
]

PAIRS = [
    *(
        Pair(
            name="dpt_vit_b16",
            package="transformers",
            reference=f"transformers.DPTForSemanticSegmentation(readout_type={readout!r})",
            ours=lambda readout=readout: DPT(
                small_vit(),
                num_classes=5,
                reassemble_channels=(16, 24, 32, 48),
                decoder_channels=32,
                readout=readout,
            ),
            theirs=lambda readout=readout: hf_dpt(readout),
            run_theirs=run_hf,
            keys=HF_KEYS,
            stages={
                f"fuse{5 - i}": (f"fuse{5 - i}", f"neck.fusion_stage.layers.{i}") for i in range(4)
            },
            # The residual unit and the LayerNorm that ours leaves out because nothing uses them.
            theirs_alone=r"neck\.fusion_stage\.layers\.0\.residual_layer1\..*|dpt\.layernorm\..*",
            size=(64, 64),
            tolerance=ATTENTION,
            variant="eight blocks of width 64; the aux head on the last fusion but one, as in the "
            "paper, where theirs has it on the last",
        )
        for readout in ("project", "add", "ignore")
    ),
    *(
        Pair(
            name="dpt_vit_b16",
            package="segmentation_models_pytorch",
            reference=f"smp.DPT(decoder_readout={theirs!r})",
            ours=partial(without_aux_head, ours),
            theirs=partial(smp_dpt, theirs),
            run_theirs=run_smp,
            keys=SMP_KEYS,
            stages={
                **{
                    f"reassemble.{i}": (f"reassemble.{i}", f"decoder.reassemble_blocks.{i}")
                    for i in range(4)
                },
                **{
                    f"fuse{5 - i}": (f"fuse{5 - i}", f"decoder.fusion_blocks.{i}") for i in range(4)
                },
                "head": ("head", "segmentation_head.head"),
            },
            theirs_alone=r"encoder\.model\.norm\..*",  # theirs applies it to no map
            tolerance=ATTENTION,
            variant="twelve blocks of width 64; no aux head, since theirs has none; theirs without "
            "the residual unit of the deepest fusion, which the release does not call, and with "
            "position embeddings resized bilinearly, as in the release",
        )
        for ours, theirs in (("project", "cat"), ("add", "add"), ("ignore", "ignore"))
    ),
    Pair(
        name="backbones.vit_b_16",
        package="timm",
        reference="timm VisionTransformer",
        ours=lambda: small_vit(norm=True),
        theirs=timm_vit,
        run_ours=lambda model, images: pair_up(model.forward_tokens(images)),
        run_theirs=run_timm,
        keys=TIMM_KEYS,
        size=(48, 48),
        tolerance=ATTENTION,
        variant="eight blocks of width 64, at the size of the position embeddings (theirs are "
        "resized by another rule), LayerNorm on the last",
    ),
]
