"""Qwen2 by its definition, in PyTorch alone: what check_logits.py expects, and a rival where Hugging Face transformers is not installed."""

import torch
import torch.nn.functional as F


def rms_norm(x, weight, eps, width=None):
    """`width`: the sum of squares is divided by it rather than by the number of columns."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) / (width or x.shape[-1]) + eps)).to(x.dtype) * weight


def attention(q, k, v, mask=None):
    """q [heads, n, d] over k, v [kv heads, keys, d]; mask [n, keys], if not all is seen. The heads that share keys stand below each other as rows."""
    (heads, n, d), kv_heads = q.shape, k.shape[0]
    q = q.reshape(kv_heads, heads // kv_heads * n, d)
    if mask is not None:
        mask = mask.repeat(heads // kv_heads, 1)
    if hasattr(F, "scaled_dot_product_attention"):
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
    else:
        scores = q @ k.transpose(1, 2) * d**-0.5
        out = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1) @ v
    return out.reshape(heads, n, d)


class Qwen2:
    """weight(name): a tensor of the dtype; it may be made anew each time, so that a model need not fit. Holds keys and values of `context` positions."""

    def __init__(self, config, weight, dtype, device, context):
        self.config, self.weight, self.context = config, weight, context
        self.head_dim = config["hidden_size"] // config["num_attention_heads"]
        shape = (config["num_hidden_layers"], config["num_key_value_heads"], context, self.head_dim)
        self.k, self.v = torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device)
        self.frequency = config["rope_theta"] ** (-torch.arange(0, self.head_dim, 2, device=device) / self.head_dim)

    def norm(self, x, name):
        return rms_norm(x, self.weight(name), self.config["rms_norm_eps"])

    def heads(self, x, name, bias=True):
        out = F.linear(x, self.weight(name + ".weight"), self.weight(name + ".bias") if bias else None)
        return out.reshape(x.shape[0], -1, self.head_dim).transpose(0, 1)

    def rotated(self, x, angle):
        left, right = x.float().chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((left * cos - right * sin, right * cos + left * sin), -1).to(x.dtype)

    def embedded(self, ids):
        return F.embedding(ids, self.weight("model.embed_tokens.weight"))

    def between(self, x, layer):
        """What stands between self-attention and feed-forward: nothing. nvlm.py puts something there."""
        return x

    def states(self, ids, positions):
        """What the head reads, [n, hidden]; ids and positions [n], which are in turn."""
        angle = positions[:, None].float() * self.frequency
        mask = torch.arange(self.context, device=ids.device)[None] <= positions[:, None]
        x = self.embedded(ids)
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            h = self.norm(x, at + "input_layernorm.weight")
            self.k[layer].index_copy_(1, positions, self.rotated(self.heads(h, at + "self_attn.k_proj"), angle))
            self.v[layer].index_copy_(1, positions, self.heads(h, at + "self_attn.v_proj"))
            q = self.rotated(self.heads(h, at + "self_attn.q_proj"), angle)
            seen = attention(q, self.k[layer], self.v[layer], mask).transpose(0, 1).reshape(x.shape)
            x = x + F.linear(seen, self.weight(at + "self_attn.o_proj.weight"))
            x = self.between(x, layer)
            h = self.norm(x, at + "post_attention_layernorm.weight")
            gate, up = F.linear(h, self.weight(at + "mlp.gate_proj.weight")), F.linear(h, self.weight(at + "mlp.up_proj.weight"))
            x = x + F.linear(F.silu(gate) * up, self.weight(at + "mlp.down_proj.weight"))
        return x

    def logits(self, x):
        head = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        return F.linear(self.norm(x, "model.norm.weight"), self.weight(head))

    def __call__(self, ids, positions, outs):
        """Logits [outs, vocab] of the last rows."""
        return self.logits(self.states(ids, positions)[-outs:])
