"""Scenes that state the facts of the world, what words mean, and what follows.

Templates as `narration` reads them.
"""

from gpt1_jax.storyworld.events import Event

LESSONS = (
    Event(
        "Meeting {neighbour}",
        "{neighbour} and {neighbour.pet_name}",
        """
A {neighbour.pet} came up to them.
| {hero} saw {neighbour.pet:a} {spot.at}.
"That is {neighbour.pet_name}," said {friend}. "It is the {neighbour.pet} of
  {neighbour}."
| "Whose {neighbour.pet} is that?" asked {hero}. "It belongs to {neighbour}," said
  {friend}.
{neighbour} has {neighbour.pet:a} called {neighbour.pet_name}.
| The {neighbour.pet} of {neighbour} is called {neighbour.pet_name}.
Then {neighbour} came too and said good morning.
| "Come here, {neighbour.pet_name}!" called {neighbour}.
{neighbour} lives in {neighbour.home:a} in {neighbour.village}.
| {neighbour}'s home is {neighbour.home:a} in {neighbour.village}.
| {neighbour} lives in {neighbour.village} and is {neighbour.job:a} there.
{hero} stroked {neighbour.pet_name}, and the {neighbour.pet} was {happy}.
| {neighbour.pet_name} ran around {hero} and was very {lively}.
Then {neighbour} and {neighbour.pet_name} went home to {neighbour.village}.
""",
    ),
    Event(
        "Talk about {other}",
        "{other} and {other.friend}",
        """
"Do you know {other}?" asked {hero}.
| "Who is {other}?" asked {hero}.
"{other} lives in {other.village}," said {friend}.
| "{other}'s home is in {other.village}," said {friend}.
| "{other} is {other.job:a} in {other.village}," said {friend}.
"What does {other.she} do?" asked {hero}.
| "And what is the work of {other}?" asked {hero}.
"{other.she} is {other.job:a}," said {friend}. "{other.she} has to {other.work} every
  day."
| "In {other.village} {other} works as {other.job:a}," said {friend}.
"What does {other} like?" asked {hero}.
| "What does {other.she} like best of all?" asked {hero}.
"{other} likes {other.likes}, but {other.she} does not like {other.dislikes}," said
  {friend}.
| "There is nothing that {other} likes more than {other.likes}," said {friend}.
| "{other} likes to {other.hobby} and to eat {other.likes}," said {friend}.
"Is {other} {brave}?" asked {hero}.
| "What is {other.she} afraid of?" asked {hero}.
"{other} is afraid of {other.fears:s}," said {friend}.
| "When {other.she} sees {other.fears:a}, {other.she} runs away," said {friend}.
"I have heard that {other} is very {other_trait}," said {hero}.
| "Everybody says that {other} is {other_trait}," said {hero}.
|
{friend} said that {other} is the best friend of {other.friend}.
| "{other} and {other.friend} are best friends," said {friend}.
| {other} has {other.pet:a} called {other.pet_name}, and everybody likes
  {other.pet_name}.
""",
    ),
    Event(
        "A Question",
        "the {word}",
        """
{hero} saw something {spot.at} and asked a question.
| {hero} had a question.
|
"What is {word:a}?" asked {hero}.
"{word:a} is a kind of {class_}," said {friend}.
| "{word:a} is {class_:a}," said {friend}.
"{sibling:a} is {class_:a} too," said {hero}.
| "So {word:s} and {sibling:s} are {class_:s}," said {hero}.
"Is {stranger:a} {class_:a}?" asked {friend}.
"No, {stranger:a} is not {class_:a}," said {hero}. "{stranger:a} is {stranger_class:a}."
| {hero} laughed and said that {stranger:a} is {stranger_class:a}.
"Every {word} is {class_:a}, but not every {class_} is {word:a}," said {friend}.
|
"How {clever} you are!" said {hero}.
| Then {hero} knew something new and was {happy}.
""",
    ),
    Event(
        "Words",
        "the word {meaning}",
        """
{friend} knew a game with words.
| "Let us play the game of words," said {hero}.
"What is another word for {meaning}?" asked {friend}.
"{same} means the same as {meaning}," said {hero}.
| "{meaning} and {same} mean the same," said {hero}.
"And what is the opposite of {meaning}?" asked {friend}.
"The opposite of {meaning} is {opposite}," said {hero}.
| "{opposite} is the opposite of {meaning}," said {hero}.
"And {opposite_same} means the same as {opposite}," said {friend}.
|
"You are {clever}, {hero}," said {friend}.
| They played the game until they knew no more words.
""",
    ),
    Event(
        "What People Say",
        "what people say",
        """
{hero} had a list of what people say, and beside it stood what it was.
| "Is that good or bad?" asked {hero}, and {friend} read from a list.
Everybody says that {neighbour} is {happy}. Very positive.
| Everybody says that {neighbour} is {sad}. Very negative.
| Everybody says that {neighbour} is {polite}. Very positive.
| Everybody says that {neighbour} is {angry}. Very negative.
"How {brave} you are!" said {hero} to {neighbour}. Very positive.
| "How {foolish} you are!" said {hero} to {neighbour}. Very negative.
| "How {kind} you are!" said {hero} to {neighbour}. Very positive.
| "How {tired} you are!" said {hero} to {neighbour}. Very negative.
{friend} saw that {neighbour} was {clever}. Very positive.
| {friend} saw that {neighbour} was {afraid}. Very negative.
| {friend} saw that {neighbour} was {calm}. Very positive.
| {friend} saw that {neighbour} was {rude}. Very negative.
{hero} ate {fruit:a} and thought that it was {delicious}. Very positive.
| {hero} ate {fruit:a} and thought that it was {awful}. Very negative.
| The {vegetable} of {neighbour} was {delicious}. Very positive.
| The {vegetable} of {neighbour} was {awful}. Very negative.
"I am so {lively}," said {neighbour}. Very positive.
| "I am so {angry}," said {neighbour}. Very negative.
| "I am so {happy}," said {neighbour}. Very positive.
| "I am so {afraid}," said {neighbour}. Very negative.
{neighbour} was very {calm}. Very positive.
| {neighbour} was very {rude}. Very negative.
| {neighbour} was very {clever}. Very positive.
| {neighbour} was very {sad}. Very negative.
At home in {neighbour.village} {neighbour} was {kind}. Very positive.
| At home in {neighbour.village} {neighbour} was {tired}. Very negative.
| At home in {neighbour.village} {neighbour} was {lively}. Very positive.
| At home in {neighbour.village} {neighbour} was {foolish}. Very negative.
""",
    ),
    Event(
        "Why It Was So",
        "the reason",
        """
"Why?" asked {hero} again and again, and {friend} knew it every time.
| "I know the reason," said {friend}.
They laughed, because the {fruit} was {delicious}.
| {hero} ate all of it, because the {vegetable} was {delicious}.
They stood still, because the {stray} had lost its mother.
| {friend} was {sad}, because the {stray} had lost its mother.
They could not work, because the {tool} was broken.
| {neighbour} was {angry}, because the {tool} was broken.
They waited, because {neighbour} had lost {neighbour.her} way.
| They went back, because {neighbour} could not find {neighbour.her} hat.
They went with {neighbour.him}, because {neighbour} had forgotten {neighbour.her}
  {neighbour.treasure}.
| They called, because {neighbour} was looking for {neighbour.her} {neighbour.pet}.
""",
    ),
    Event(
        "The Schoolbook",
        "the schoolbook",
        """
{friend} had an old schoolbook, and {hero} read from it.
| In an old schoolbook there were questions, and {hero} knew what was right.
{hero} hid behind {tree:a}. {friend} had {fruit:a}. {hero} had broken {tool:a}.
| {hero} had brought {tool:a}. {friend} ate {fruit:a}. They sat down under {tree:a}.
| {friend} ate {fruit:a}. {hero} hid behind {tree:a}. {friend} had brought {tool:a}.
What could they eat? {fruit:a}.
With what could they work? {tool:a}.
| Which tree was there? {tree:a}.
{hero} bought {vegetable:a}. {stray:a} was crying there. {friend} picked {flower:a}.
| {hero} found {stray:a}. {hero} picked {flower:a}. {friend} got {vegetable:a}.
| {friend} got {vegetable:a}. {stray:a} was crying there. {hero} picked {flower:a}.
Which animal was there? {stray:a}. What could they eat? {vegetable:a}.
| What could they eat? {vegetable:a}. Which animal was there? {stray:a}.
Which flower was there? {flower:a}.
|
""",
    ),
)
