"""Networks: images in, SegOutput(logits, aux) out. One file per paper."""
