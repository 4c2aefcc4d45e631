r"""The places inside words where spaCy's English tokenizer cuts, as patterns.

Each pattern matches an empty string in text that `clean.standardize` and ftfy have
cleaned, in the syntax of the library `tokenizers` (Oniguruma). They cover spaCy's rules
for prose; web addresses, emoticons, units and rarer abbreviations are left out.
Source: spaCy 3.8, spacy/lang/punctuation.py, spacy/lang/en/tokenizer_exceptions.py.
"""

# What may stand before a word: the start of the text, or one of these characters.
_BEFORE = r"""\s"(\[*,;!?~+_/)\-"""
_ABBREVIATIONS = (
    "Mt|Ak|Ala|Apr|Ariz|Ark|Aug|Calif|Colo|Conn|Dec|Del|Feb|Fla|Ga|Ia|Id|Ill|Ind|Jan|"
    "Jul|Jun|Kan|Kans|Ky|La|Mar|Mass|Mich|Minn|Miss|Neb|Nebr|Nev|Nov|Oct|Okla|Ore|Pa|"
    "Sep|Sept|Tenn|Va|Wash|Wis|Adm|Bros|co|Co|Corp|Dr|Gen|Gov|Inc|Jr|Ltd|Md|Messrs|Mo|"
    r"Mont|Mr|Mrs|Ms|Prof|Rep|Rev|Sen|St|vs|e\.g|E\.g|i\.e|I\.e|a\.m|p\.m|Ph\.D|"
    r"v\.s|N\.Y|D\.C"
)
_NEGATED = (
    "ca|could|do|does|did|had|may|might|must|need|ought|sha|should|wo|would|ai|are|is|"
    "was|were|have|has|dare"
)
_PRONOUNS = "you|he|she|it|we|they|who|what|when|where|why|how|there|that|this|these"
_AUXILIARIES = "could|might|must|should|would|not"
# Words that keep their apostrophe at the start, or at the end.
_KEEP_FIRST = "em|ll|nuff|s|S|re|ve|m|d|Cause|cause|cos|Cos|coz|Coz|cuz|Cuz|bout"
_KEEP_LAST = "doin|goin|nothin|nuthin|ol|somethin|lovin|havin"


def _either_case(words: str) -> list[str]:
    """Returns patterns of the words, their first letters in lower or upper case."""
    return [f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in words.split("|")]


def _after(words: str) -> str:
    """Returns a look-behind: one of the words."""
    alternatives = "|".join(rf"\b{word}" for word in _either_case(words))
    return f"(?<={alternatives})"


_STARTS = rf"\A'|[{_BEFORE}]'"
_NO_ABBREVIATION = "".join(
    rf"(?<!\A{word})(?<![{_BEFORE}']{word})" for word in _ABBREVIATIONS.split("|")
)
BOUNDARIES = (
    # Emphasis, as in _this_; it is cut off first, because for \b it is a letter.
    r"(?<=_)(?=[^\s_])|(?<=[^\s_])(?=_)",
    # Each of these characters stands alone.
    r"""(?<=[*#!?,;"()\[\]{}_<>$&])(?=[*#!?,;"()\[\]{}_<>])""",
    rf"(?<=\A[#$£€&<>%=`]|[{_BEFORE}#][#$£€&<>%=`])(?=[^\s])",
    r"(?<=[^\s%])(?=[%£€](?![\p{L}\p{N}]))|(?<=[^\s&#<>])(?=[&#<>`](?![\p{L}\p{N}]))",
    # Dots: an ellipsis, the end of a sentence inside a word and at its end.
    r"(?<=[^\s.])(?=\.\.)|(?<=\.\.)(?=[^\s.])",
    r"""(?<=\p{Ll})(?=\.[\p{Lu}'])|(?<=\p{Ll}\.)(?=\p{Lu})""",
    rf"(?<=[\p{{Ll}}0-9%'>&]|\p{{Lu}}\p{{Lu}})(?<!\A[a-zäöü])(?<![{_BEFORE}'][a-zäöü])"
    rf"{_NO_ABBREVIATION}(?=\.(?![\p{{L}}\p{{N}}.]))",
    r"""(?<=n't|'[a-z]|'[a-z][a-z])(?=\.(?![\p{L}\p{N}.]))""",
    # Colons, apart from those between digits.
    r"(?<=[^\s:])(?=:(?!\d))|(?<=:)(?=[^\s:\d])",
    # Contractions.
    rf"{_after(_NEGATED)}(?=n't\b)|{_after(_NEGATED)}(?=nt\b)",
    rf"{_after(f'{_PRONOUNS}|those|i')}(?='(?:ll|d)\b)",
    rf"{_after(f'{_PRONOUNS}|those|i')}(?='(?:ve|re)\b)",
    rf"{_after(_AUXILIARIES)}(?='ve\b)|(?<='d|'ll|n't)(?='ve\b)",
    r"(?<=\bI|\bi)(?='m\b)",
    r"(?<=[^\s'])(?='[sS](?![\p{L}\p{N}.]))",
    r"(?<=\b[Cc]an)(?=not\b)|(?<=\b[Gg]on)(?=na\b)|(?<=\b[Gg]ot)(?=ta\b)",
    # Quotation marks.
    rf"(?<={_STARTS})(?=[^\s'])(?!(?:{_KEEP_FIRST})(?![\p{{L}}\p{{N}}.]))",
    rf"(?<=[^\s'])(?<!{'|'.join(_either_case(_KEEP_LAST))})"
    r"(?='+(?![\p{L}\p{N}]))",
    r"(?<=[0-9])(?=[ap]m\b)",
)
