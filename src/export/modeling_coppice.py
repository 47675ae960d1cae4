# SPDX-License-Identifier: Apache-2.0
"""Transformers whose layers differ in size, in transformers 4.57 and 5.

    AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)

coppice writes this file beside the models that it prunes. Their config.json is that of the dense model, and says in "coppice" what
every layer has kept:

    heads       attention heads; groups of them where several share keys and values
    queries     heads a group, if layers differ in that
    channels    of the feed-forward network
    values      numbers of a head's value, if some layer has fewer than the dense model
    keys        numbers of a head's query and key, likewise
    pairs       which of a head's rotating pairs those are, likewise

Every class here is transformers' own of that name: it makes the dense model, then cuts each layer to its sizes. Zero is a size.
Heads of fewer numbers have them put where the dense model has them, and zeros elsewhere, so that attention is transformers' own.
"""
import transformers
from torch import nn
from transformers.models.mpnet.modeling_mpnet import MPNetAttention, MPNetEncoder


class Layout:
    """Where a family keeps its layers and, in each, the attention, its projections, and the feed-forward network's."""

    def __init__(self, layers, attention, inputs, output, up, down):
        self.layers = layers
        self.attention, self.inputs, self.output = attention, inputs, output
        self.up, self.down = up, down


BERT = Layout(
    "encoder.layer",
    "attention.self",
    ["query", "key", "value"],
    "attention.output.dense",
    ["intermediate.dense"],
    "output.dense",
)
MPNET = Layout("encoder.layer", "attention.attn", ["q", "k", "v"], "attention.attn.o", BERT.up, BERT.down)
DISTILBERT = Layout(
    "transformer.layer", "attention", ["q_lin", "k_lin", "v_lin"], "attention.out_lin", ["ffn.lin1"], "ffn.lin2"
)
LLAMA = Layout(
    "layers",
    "self_attn",
    ["q_proj", "k_proj", "v_proj"],
    "self_attn.o_proj",
    ["mlp.gate_proj", "mlp.up_proj"],
    "mlp.down_proj",
)
LAYOUTS = {
    "bert": BERT,
    "distilbert": DISTILBERT,
    "llama": LLAMA,
    "mistral": LLAMA,
    "mpnet": MPNET,
    "roberta": BERT,
}


class NoHeads(nn.Module):
    """An attention without heads: of its output projection, the bias is left."""

    def __init__(self, attention, output):
        super().__init__()
        for name, child in attention.named_children():
            setattr(self, name, child)
        self.output_name = output if output in self._modules else None  # None where it stands outside
        self.layer_idx = getattr(attention, "layer_idx", None)

    def forward(self, hidden_states=None, *args, query=None, past_key_values=None, **kwargs):
        hidden_states = query if hidden_states is None else hidden_states
        if past_key_values is not None:  # the cache reads its length from any layer
            mark = hidden_states.new_ones(hidden_states.shape[0], 1, hidden_states.shape[1], 1)
            past_key_values.update(mark, mark, self.layer_idx, {"cache_position": kwargs.get("cache_position")})
        mixed = hidden_states[..., :0]
        return (mixed if self.output_name is None else self._modules[self.output_name](mixed)), None


class OwnBias(MPNetAttention):
    """MPNet's attention with relative biases of its own: the columns, of the table that whole layers share, of its heads."""

    compute_position_bias = MPNetEncoder.compute_position_bias
    relative_position_bucket = staticmethod(MPNetEncoder.relative_position_bucket)

    def __init__(self, config, heads):
        super().__init__(config)
        self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, heads)

    def forward(self, hidden_states, *args, position_bias=None, **kwargs):
        own = self.compute_position_bias(hidden_states) if self.relative_attention_bias.embedding_dim else None
        return super().forward(hidden_states, *args, position_bias=own, **kwargs)


class Spread(nn.Linear):
    """Makes fewer numbers a head than attention wants, and puts them at `places` among zeros."""

    def forward(self, x):
        x = super().forward(x).unflatten(-1, (-1, len(self.places)))
        wide = x.new_zeros(*x.shape[:-1], self.width)
        wide[..., self.places] = x
        return wide.flatten(-2)


class Gather(nn.Linear):
    """Reads fewer numbers a head than attention gives: the first ones."""

    def forward(self, x):
        return super().forward(x.unflatten(-1, (-1, self.width))[..., : self.stays].flatten(-2))


def cut(linear, rows=None, columns=None, bias=False):
    """Leaves the first rows (outputs) and columns (inputs); which ones does not matter before the numbers are read."""
    if bias and linear.bias is None:
        linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[:rows].detach().clone())
    linear.weight = nn.Parameter(linear.weight[:rows, :columns].detach().clone())
    linear.out_features, linear.in_features = linear.weight.shape


def narrow(layer, layout, width, values, keys, pairs):
    """Lets projections that have fewer numbers a head stand beside attention that has all of them."""
    attention = layer.get_submodule(layout.attention)
    query, key, value = (attention.get_submodule(name) for name in layout.inputs)
    output = layer.get_submodule(layout.output)
    places = pairs + [pair + width // 2 for pair in pairs] if pairs else list(range(keys))
    for linear in (query, key) if keys < width or pairs else ():
        linear.__class__, linear.width, linear.places = Spread, width, places
    if values < width:
        value.__class__, value.width, value.places = Spread, width, list(range(values))
        output.__class__, output.width, output.stays = Gather, width, values


def resize_attention(layer, layout, heads, queries, bias, values=None, keys=None, pairs=()):
    attention = layer.get_submodule(layout.attention)
    width = getattr(attention, "head_dim", None) or attention.attention_head_size
    values, keys = values or width, keys or width
    for name, rows in zip(layout.inputs, (heads * queries * keys, heads * keys, heads * values)):
        cut(attention.get_submodule(name), rows=rows, bias=bias)
    cut(layer.get_submodule(layout.output), columns=heads * queries * values, bias=bias)
    if heads:
        narrow(layer, layout, width, values, keys, list(pairs))
    sizes = {
        "num_attention_heads": heads * queries,
        "n_heads": heads * queries,
        "all_head_size": heads * queries * width,
        "dim": heads * queries * width,
        "num_key_value_groups": queries,
    }
    for name, size in sizes.items():
        if hasattr(attention, name):
            setattr(attention, name, size)
    if heads == 0:
        layer.set_submodule(layout.attention, NoHeads(attention, layout.output.split(".")[-1]))


def resize(model, config):
    """Cuts every layer of a model without its head to the sizes in config.coppice; leaves one without them as it is."""
    sizes = getattr(config, "coppice", None)
    if sizes is None:
        return
    layout = LAYOUTS[config.model_type]
    dense = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or dense
    # Biases that a repair has added, in families that have none.
    attention_bias, mlp_bias = getattr(config, "attention_bias", False), getattr(config, "mlp_bias", False)
    for i, layer in enumerate(model.get_submodule(layout.layers)):
        heads, channels = sizes["heads"][i], sizes["channels"][i]
        queries = sizes["queries"][i] if "queries" in sizes else dense // groups
        if layout is MPNET and heads != dense:
            layer.attention = OwnBias(config, heads)
        inside = {name: sizes[name][i] for name in ("values", "keys", "pairs") if name in sizes}
        resize_attention(layer, layout, heads, queries, attention_bias, **inside)
        for name in layout.up:
            cut(layer.get_submodule(name), rows=channels, bias=mlp_bias)
        cut(layer.get_submodule(layout.down), columns=channels, bias=mlp_bias)


def pruned(name, auto_class):
    stock = getattr(transformers, name)

    class Pruned(stock):
        _auto_class = auto_class  # save_pretrained then copies this file

        def __init__(self, config, *args, **kwargs):
            super().__init__(config, *args, **kwargs)
            resize(self.base_model, config)

    Pruned.__name__ = Pruned.__qualname__ = name
    Pruned.__doc__ = stock.__doc__
    return Pruned


BertModel = pruned("BertModel", "AutoModel")
BertForSequenceClassification = pruned("BertForSequenceClassification", "AutoModelForSequenceClassification")
BertForQuestionAnswering = pruned("BertForQuestionAnswering", "AutoModelForQuestionAnswering")
DistilBertModel = pruned("DistilBertModel", "AutoModel")
DistilBertForSequenceClassification = pruned("DistilBertForSequenceClassification", "AutoModelForSequenceClassification")
DistilBertForQuestionAnswering = pruned("DistilBertForQuestionAnswering", "AutoModelForQuestionAnswering")
RobertaModel = pruned("RobertaModel", "AutoModel")
RobertaForSequenceClassification = pruned("RobertaForSequenceClassification", "AutoModelForSequenceClassification")
RobertaForQuestionAnswering = pruned("RobertaForQuestionAnswering", "AutoModelForQuestionAnswering")
MPNetModel = pruned("MPNetModel", "AutoModel")
MPNetForSequenceClassification = pruned("MPNetForSequenceClassification", "AutoModelForSequenceClassification")
MPNetForQuestionAnswering = pruned("MPNetForQuestionAnswering", "AutoModelForQuestionAnswering")
LlamaModel = pruned("LlamaModel", "AutoModel")
LlamaForCausalLM = pruned("LlamaForCausalLM", "AutoModelForCausalLM")
MistralModel = pruned("MistralModel", "AutoModel")
MistralForCausalLM = pruned("MistralForCausalLM", "AutoModelForCausalLM")
