# SPDX-License-Identifier: Apache-2.0
"""BERT's tokenisation without its vocabulary file.

Text is split as BERT's uncased tokenizer does: lower case, accents removed, split at white space, punctuation and CJK characters. BERT would
then cut each word greedily into the longest pieces that its vocabulary lists. There is no list here: words are cut into pieces of at most
PIECE characters (pieces inside a word start with ##), and a piece's number is a hash of its text. So the numbers of tokens are like BERT's,
but the numbers themselves mean nothing to weights trained elsewhere.
"""

import hashlib
import unicodedata

CLS, SEP = 101, 102
# As in BERT's vocabulary: what is below is padding, special and unused entries.
FIRST_PIECE = 999
PIECE = 7


def _is_split_alone(character):
    if 0x4E00 <= ord(character) <= 0x9FFF or 0x3400 <= ord(character) <= 0x4DBF:
        return True
    code = ord(character)
    ascii_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_symbol or unicodedata.category(character).startswith("P")


def split_words(text):
    """Lower-case words and single punctuation characters, in order."""
    words, word = [], ""
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category in ("Cc", "Cf", "Cs") and not character.isspace()):
            continue
        if character.isspace() or _is_split_alone(character):
            if word:
                words.append(word)
            word = ""
            if not character.isspace():
                words.append(character)
        else:
            word += character
    return words + [word] if word else words


def pieces_of(word):
    """A word's pieces, those after the first marked with ##."""
    return [("##" if start else "") + word[start : start + PIECE] for start in range(0, len(word), PIECE)]


def piece_number(piece, vocabulary):
    """The number of a piece: the same on every machine and in every process."""
    digest = hashlib.blake2b(piece.encode(), digest_size=8).digest()
    return FIRST_PIECE + int.from_bytes(digest, "little") % (vocabulary - FIRST_PIECE)


def encode(text, pair, vocabulary, limit):
    """Return (token numbers, segment numbers) of "[CLS] text [SEP]" or "[CLS] text [SEP] pair [SEP]", at most limit of them.

    What is too long is cut at the end of the longer of the two texts, as BERT does.
    """
    parts = [[piece for word in split_words(part) for piece in pieces_of(word)] for part in (text, pair) if part is not None]
    room = limit - 1 - len(parts)
    while sum(map(len, parts)) > room:
        max(parts, key=len).pop()
    numbers, segments = [CLS], [0]
    for segment, part in enumerate(parts):
        numbers += [piece_number(piece, vocabulary) for piece in part] + [SEP]
        segments += [segment] * (len(part) + 1)
    return numbers, segments
