"""A language model of a few thousand random weights with a tokenizer of its own, as files."""

BABBLING = [
    "--targets.dialogues=3", "--targets.methods=[standalone]", "--targets.mechanisms=[explorations]",
    "--targets.spare=9", "--writing.max_tokens=32", "--judging={temperature: 1.0, max_tokens: 32}", "--repeats=9",
]  # fmt: skip
"""Options of `synthesize` with which the model of `build_babbler` gets something done."""

SENTENCES = [
    "I feel low and can't sleep.",
    "I am sorry to hear that. What keeps you awake?",
    "Write a short conversation.",
]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build(folder, template=TEMPLATE):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", chat_template=template, model_max_length=4096
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=4096, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    return folder


def build_babbler(folder):
    """A model that draws evenly from a few dozen pieces of text, dialogues' parts and verdicts among them.

    What it says is noise, yet now and then a dialogue, a level or labels, so a whole run can be made with it.
    """
    import itertools

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words, seeks, helps = "I you never tired sorry what night home feel alone", "So Well Look Yes Still", "Oh Hm But"
    parts = [f" {word}" for word in words.split()]
    parts += [f"\nPerson 1: {word}" for word in seeks.split()]
    parts += [f"\nPerson 2: {word}" for word in helps.split()]
    parts += [f'{{"level": {level}{space}}}' for level in (0, 1, 2) for space in ("", " ", "  ")]
    names = ("emotional_reactions", "interpretations", "explorations")
    for levels in itertools.islice(itertools.product(range(3), repeat=3), 0, None, 3):
        parts.append("{" + ", ".join(f'"{name}": [{n}]' for name, n in zip(names, levels, strict=True)) + "}")
    vocabulary = {part: number for number, part in enumerate(["<s>", "</s>", "</s>2", "<unk>", *parts])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=4096, bos_token_id=0, eos_token_id=[1, 2], pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    return folder


def build_gpt2(folder, texts):
    """A GPT-2 of one layer with a tokenizer trained on texts, as DialoGPT comes."""
    from transformers import PreTrainedTokenizerFast

    from datamodules.contexts import TurnEncoder
    from lightning_modules.networks.responder import SmallModel, build_small, train_tokenizer

    build_small(SmallModel(layers=1, width=64, heads=2, window=64), 300, 0).save_pretrained(folder)
    tokenizer = TurnEncoder(train_tokenizer(texts, 300)).tokenizer
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder
