"""What can happen to two friends at a place, each event with its own consequences.

Templates as `narration` reads them.
"""

import dataclasses

_WATER = ("the river", "the lake", "the pond")
LAND = ("the forest", "the meadow", "the orchard", "the hill")
PEOPLE = ("the market", "the old bridge", "the windmill")


@dataclasses.dataclass(frozen=True)
class Event:
    """A scene with its chapter title, how it is remembered in the evening, and where.

    An empty `where` means everywhere.
    """

    title: str
    memory: str
    template: str
    where: tuple[str, ...] = ()


EVENTS = (
    Event(
        "A Fright",
        "the {hero.fears}",
        """
Suddenly {hero} stood still.
| All at once {hero} gave a loud cry.
There was {hero.fears:a}, not far away from {hero.him}!
| In front of {hero.him} was {hero.fears:a}.
{hero} was {afraid}, because {hero.she} feared {hero.fears:s} more than anything.
| {hero} had always been afraid of {hero.fears:s}, and {hero.she} began to shake.
"Help, {hero.fears:a}!" cried {hero} and hid behind {friend}.
| {hero} wanted to run, but {hero.her} legs would not move.
"Do not be afraid," said {friend}.
| {friend} was not afraid of {hero.fears:s}, and {friend.she} clapped {friend.her}
  hands.
| {friend} took {hero} by the hand.
The {hero.fears} looked at them and then went away.
| After a while the {hero.fears} turned around and was gone.
"Thank you, {friend}," said {hero}, who was {calm} again.
| "How {brave} you are!" said {hero} to {friend}.
""",
    ),
    Event(
        "Another Fright",
        "the fright of {friend}",
        """
"Did you hear that?" asked {friend}.
| Something moved {spot.at}, and {friend} turned white.
{friend} thought of {friend.fears:a}, for {friend.she} was afraid of {friend.fears:s}.
| "I think that there is {friend.fears:a} {spot.at}," said {friend}, who feared
  {friend.fears:s}.
{friend} was so {afraid} that {friend.she} could not speak.
| "Let us go away from here," {friend.she} said, for {friend.she} was {afraid}.
But {hero} laughed, because it was only {colour:a} leaf.
| {hero} went to look, and it was only {wild:a}.
"There is no {friend.fears} here," said {hero}.
Now {friend} laughed too and was {calm} again.
| Then {friend} was not {afraid} any more.
""",
    ),
    Event(
        "A Bad Meal",
        "the {hero.dislikes}",
        """
They were hungry, so they sat down to eat.
| At noon {hero} said that {hero.she} was hungry.
{friend} had brought a lot of {hero.dislikes}.
| "I have some {hero.dislikes} for us," said {friend}.
But {hero} does not like {hero.dislikes} at all.
| {hero} made a face, because {hero.she} does not like {hero.dislikes}.
To {hero.him} it tasted {awful}.
| {hero.she} took one bite and thought that it was {awful}.
"I am sorry, but I like {hero.likes} better," said {hero}.
| "Have you no {hero.likes}?" asked {hero}.
{friend} was not {angry} and gave {hero.him} {fruit:a} instead.
| So {hero} ate {fruit:a}, and {friend} ate all of the {hero.dislikes}.
""",
    ),
    Event(
        "The Fish",
        "the {fish}",
        """
{friend} had brought a net, for they wanted to catch a fish.
| "Maybe we can catch a fish," said {friend} and threw a net into the water.
They sat {spot.at} and waited for a long time.
| For a long time nothing happened, and they looked at the {cold} water.
Then there was {fish:a} in the net!
| "Look, {fish:a}!" shouted {hero}.
It was {big:a} {fish}, and it jumped up and down.
| The {fish} looked at them with round eyes.
"It wants to go home," said {hero}.
| {hero} felt sorry for the {fish}.
So they let the {fish} go, and it swam away.
| They put the {fish} back into the water.
The {fish} was {happy}, and so were {hero} and {friend}.
|
""",
        _WATER,
    ),
    Event(
        "In the Water",
        "the {cold} water",
        """
{hero} wanted to jump over a little stream, but {hero.she} slipped.
| {hero} stood on a wet stone, and the stone began to move.
With a splash {hero.she} fell into the water.
| {hero.she} fell into the water and was wet from head to foot.
The water was {cold}, and {hero} began to shake.
| "Help, it is so {cold}!" cried {hero}.
{friend} gave {hero.him} {friend.her} hand and pulled {hero.him} out.
| {friend} held out a long stick and pulled {hero.him} out of the water.
They made a fire, and soon {hero} was dry and {hot} again.
| {friend} gave {hero.him} {friend.her} coat, and soon {hero} was {hot} again.
"Thank you, {friend}," said {hero}. "You are so {kind}."
""",
        _WATER,
    ),
    Event(
        "The Little {stray:t}",
        "the little {stray}",
        """
Then they heard a small voice.
| Something was crying behind {tree:a}.
It was {stray:a} that had lost its mother.
| {small:a} {stray} sat there all alone.
The {stray} was {sad}, because it could not find its mother.
| The {stray} was {afraid} and would not eat.
"Poor little {stray}," said {hero} and took it in {hero.her} arms.
| {hero} gave the {stray} some milk and stroked it.
"We must find its mother," said {friend}.
| They carried the {stray} all the way around {spot}.
At last they found the mother of the {stray}.
| Behind a hedge the mother was looking for her {stray}.
Now the {stray} was {happy}, and it ran to its mother.
| The mother licked her {stray}, and both of them were {happy}.
""",
    ),
    Event(
        "The Quarrel",
        "the quarrel",
        """
{friend} saw {fruit:a} in the grass, and so did {hero}.
| They found {fruit:a}, but there was only one.
"The {fruit} is mine!" said {hero}.
"No, I saw the {fruit} first!" said {friend}.
| "You are {foolish}!" shouted {friend}, and that was not {polite}.
Now {hero} was {angry}, and {friend} was {angry} too.
| Both of them were {angry}, and they did not speak for a long time.
Then {hero} cut the {fruit} in two and said that {hero.she} was sorry.
| "I am sorry," said {hero} and gave the {fruit} to {friend}.
"I am sorry too," said {friend}, and they were friends again.
| They ate the {fruit} together, and nobody was {angry} any more.
""",
    ),
    Event(
        "The Storm",
        "the storm",
        """
All at once the sky grew dark.
| Black clouds came over the hill.
A storm was coming, and the wind blew the hat of {friend} away.
| There was a flash and a loud noise, for a storm was coming.
"Quick, under the roof over there!" shouted {friend}.
| They ran to an old barn as fast as they could.
{hero} was {afraid} of the storm, but {friend} told {hero.him} a story.
| {friend} was {afraid} of the storm, so {hero} held {friend.her} hand.
They waited until the storm was over.
| After an hour the storm was over.
Then the birds sang again, and everything was {calm}.
| "Look, a rainbow!" said {hero}, and they were {happy}.
""",
    ),
    Event(
        "Helping {neighbour}",
        "the work of {neighbour}",
        """
{spot.at} they met {neighbour}, who lives in {neighbour.village}.
| There was {neighbour} from {neighbour.village}, {neighbour.job:a}.
{neighbour} is {neighbour.job:a}, so {neighbour.she} had to {neighbour.work}.
| "I have to {neighbour.work}," said {neighbour}, who was {neighbour.job:a}.
{neighbour.she} had worked all day and was {tired}.
| "I am so {tired}," said {neighbour} and sat down.
"We will help you," said {hero}.
| {hero} and {friend} wanted to help {neighbour.him}.
So they began to {neighbour.work}, and soon the work was done.
| {friend} did not know how to {neighbour.work}, but {neighbour} showed {friend.him}.
"How {kind} you are!" said {neighbour} and gave them {number} {fruit:s}.
| {neighbour} was {happy} and gave each of them {neighbour.portion:a} of
  {neighbour.likes}.
""",
    ),
    Event(
        "The Lost {neighbour.treasure:t}",
        "the lost {neighbour.treasure}",
        """
{neighbour} was sitting on a stone and looked {sad}.
| They met {neighbour}, and {neighbour.she} was crying.
"What is the matter, {neighbour}?" asked {hero}.
"I have lost my {neighbour.treasure}," said {neighbour}.
| "My {neighbour.treasure} is gone," {neighbour.she} said.
{neighbour} was {sad}, because {neighbour.she} had lost {neighbour.her}
  {neighbour.treasure}.
| {neighbour} loved {neighbour.her} {neighbour.treasure} more than anything.
They looked for the {neighbour.treasure} everywhere {spot.at}.
| {hero} looked to the left, and {friend} looked to the right.
At last {friend} found the {neighbour.treasure} under {tree:a}.
| "Here is your {neighbour.treasure}!" shouted {hero}.
Then {neighbour} was {happy} again.
| {neighbour} thanked them, and now {neighbour.she} was {happy}.
""",
    ),
    Event(
        "The Broken {tool:t}",
        "the broken {tool}",
        """
{neighbour}, the {neighbour.job} from {neighbour.village}, was {angry}.
| They heard {neighbour} shout, for {neighbour.she} was {angry}.
"My {tool} is broken!" said {neighbour}.
| {neighbour} had broken {neighbour.her} {tool} and could not work any more.
"Without {tool:a} I cannot work," {neighbour.she} said.
|
"I have {tool:a} at home," said {friend}.
| {friend} ran home and came back with a new {tool}.
{neighbour} took the {tool} from {friend} and was {calm} again.
| "Take this {tool}," said {friend}, and {neighbour} was not {angry} any more.
"{neighbour} is {neighbour_trait}," said {hero} later. "But {neighbour.she} loves
  {neighbour.her} {tool}."
| In the end all three of them laughed about the broken {tool}.
""",
    ),
)
