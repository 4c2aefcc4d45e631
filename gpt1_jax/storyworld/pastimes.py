"""What two friends do at a place of their own will, each with its own end.

Templates as `narration` reads them.
"""

from gpt1_jax.storyworld.events import LAND, PEOPLE, Event

PASTIMES = (
    Event(
        "The Picnic",
        "the picnic {spot.at}",
        """
{hero} put {colour:a} cloth on the ground and opened the basket.
| "Let us have a picnic," said {hero} and put down {hero.her} basket.
In the basket there were {number} {fruit:s} and some {friend.likes}.
| {hero} had packed {number} {fruit:s} and, for {friend}, some {friend.likes}.
"{friend.likes}!" said {friend}. "That is what I like best of all."
| {friend} was {happy}, because {friend.she} likes {friend.likes} more than anything.
{friend.she} ate {friend.portion:a} of {friend.likes} and said that it was {delicious}.
| {friend} ate until nothing was left of the {friend.likes}.
{hero} ate the {fruit:s} and threw the last {fruit} to {wild:a}.
| {wild:a} came near and got a bit of {fruit} from {hero}.
""",
    ),
    Event(
        "The Race",
        "the race to the {tree}",
        """
"Let us run to the {tree} over there," said {friend}.
| "I can run faster than you," said {friend} and showed {hero} {tree:a} far away.
"One, two, three!" shouted {hero}, and off they ran.
| They ran as fast as they could.
At first {hero} was in front, but then {hero.she} fell over a stone.
| {hero} was {fast}, but {friend} was even faster.
{friend} came to the {tree} first.
| So it was {friend} who first touched the {tree}.
{friend} had won the race and was {happy}.
| "I have won!" cried {friend}, who was {happy}.
{hero} had lost and was {sad} for a moment.
| {hero} was {tired} and did not say anything.
"You ran well too," said {friend}, and then {hero} could laugh again.
| Then they sat down under the {tree} and rested.
""",
        (*LAND, "the windmill"),
    ),
    Event(
        "The Flowers",
        "the {flower:s}",
        """
There were many {flower:s} {spot.at}.
| {hero} saw something {colour} in the grass, and it was {flower:a}.
{hero} picked {number} {colour} {flower:s}.
| {hero} counted them, and there were {number} {flower:s}.
"How {beautiful} they are!" said {friend}.
| "The {flower} is the most beautiful flower of all," said {friend}.
A bee sat on one {flower}, and they did not touch it.
|
{hero} gave one {flower} to {friend}, and {friend.she} put it on {friend.her} hat.
| {friend} put one {flower} in {friend.her} hair and was {happy}.
""",
        LAND,
    ),
    Event(
        "A Good Day to {hero.hobby:t}",
        "the good hour {spot.at}",
        """
"What shall we do now?" asked {friend}.
| {friend} asked {hero} what {hero.she} liked to do.
"I like to {hero.hobby}," said {hero}.
| {hero} wanted to {hero.hobby}, because that was what {hero.she} liked.
"I like to {friend.hobby}," said {friend}.
| But {friend} liked to {friend.hobby}.
So first they did what {hero} liked, and then they did what {friend} liked.
| {friend} was {polite} and let {hero} begin.
They were both {happy}, and an hour went by like a minute.
| "That was a good day," said {friend} in the end.
""",
    ),
    Event(
        "At the Stall",
        "the stall with the {fruit:s}",
        """
{spot.at} an old woman was selling {fruit:s} and {vegetable:s}.
| There was a stall with {fruit:s} and {vegetable:s}.
"What do {number} {fruit:s} cost?" asked {hero}.
| {hero} wanted to buy {number} {fruit:s}.
"For {number} {fruit:s} I want one coin," said the old woman.
{hero} gave her a coin and got {number} {fruit:s}.
| {hero} put the {fruit:s} into {hero.her} basket.
{friend} bought {vegetable:a}, for {friend.she} wanted to cook soup.
| {friend} did not want any {fruit:s} and bought {vegetable:a}.
The old woman was {polite} and gave them one more {fruit}.
| The {fruit:s} were {delicious}, and soon nothing was left of them.
""",
        PEOPLE,
    ),
    Event(
        "The Song",
        "the song",
        """
{friend} began to sing a song about {wild:a}.
| "I know a song about {wild:a}," said {friend}.
The song was old and {beautiful}, and {hero} listened to every word.
| It was a long song about {wild:a} that flew over the sea.
| It was a song about {wild:a} that wanted to see the king.
"Sing it again!" said {hero} when the song was over.
| {hero} clapped {hero.her} hands and asked for more.
So {friend} sang the song again, and {hero} sang with {friend.him}.
| {hero} tried to sing it too, but {hero.she} had forgotten half of the words.
Far away {wild:a} seemed to answer, and that made them {happy}.
| People who went by stopped and smiled.
|
""",
    ),
    Event(
        "A Wrong Path",
        "the wrong path",
        """
"I know a short way," said {hero}, and they left the road.
| They took a narrow path that they had never seen before.
But the path ended in front of {tree:a}, and they had lost their way.
| Soon they did not know where they were.
"Do you know where we are?" asked {friend}. "No," said {hero}.
| {friend} looked back, but the road was gone.
Now {hero} was {sad}, because it was all because of {hero.him}.
| {hero} was {afraid} that they would never find the road again.
Then {friend} climbed up {tree:a} and looked around.
| "Let us follow the sun," said {friend}, who was {clever}.
From there {friend.she} could see the roofs of {spot.village}.
| After a while they heard the bells of {spot.village}.
"How {clever} you are!" said {hero}, and they found the way back to {spot}.
| So they found the way back to {spot}, and {hero} was {happy} again.
""",
        LAND,
    ),
    Event(
        "The Coin",
        "the old man and his coin",
        """
Something was shining on the ground, and it was a coin.
| {hero} found a coin {spot.at}.
"We could buy {number} {fruit:s} for that," said {friend}.
| "Now we are rich!" said {friend}.
But then they saw an old man who was looking for something.
| Not far away an old man was looking at the ground, and he was {sad}.
"Have you lost a coin?" asked {hero}, and the old man said yes.
| {hero} went up to him and asked what he had lost.
The old man was poor, and it was the only coin that he had.
| "I have lost the only coin that I had," said the old man.
{hero} gave the coin back to the old man.
| "Here it is," said {hero} and gave him the coin.
He was so {happy} that he gave each of them {fruit:a}.
| "You are {kind}, and I thank you," said the old man.
""",
    ),
    Event(
        "The Kite",
        "the {colour} kite",
        """
They had made a kite out of {colour} paper.
| {friend} had brought {big:a} kite, and the kite was {colour}.
The wind took the {colour} kite and carried it high into the air.
| {hero} held the string and ran, and up went the kite.
It flew higher than the roofs and higher than the birds.
| "It is higher than the {tree}!" shouted {friend}.
Then the string broke, and the kite fell into {tree:a}.
| But suddenly the wind stopped, and the kite hung in {tree:a}.
{friend} was {sad}, because {friend.she} thought that the kite was lost.
| "Our kite is gone!" cried {friend}, and {friend.she} was {sad}.
{hero} climbed up the {tree} and brought the kite down again.
| {hero} shook the {tree} until the kite fell down.
There was only {small:a} hole in it, and {friend} was {happy}.
| Then it flew again, and nobody was {sad} any more.
""",
        LAND,
    ),
    Event(
        "The Story of {other}",
        "the story of {other}",
        """
They sat down, and {friend} told a story.
| "Tell me a story," said {hero}, and {friend} began.
"Once {other} walked home to {other.village} all alone.
| "One night {other} could not sleep in {other.her} {other.home} in {other.village}.
{other.she} saw something in the dark and thought that it was {other.fears:a}.
| There was a noise, and {other} thought of {other.fears:a}.
{other.she} was {afraid}, because {other} is afraid of {other.fears:s}.
But it was only {other.pet_name}, {other.her} {other.pet}!
| Then {other.she} lit a candle and saw that it was {other.her} {other.pet}
  {other.pet_name}.
So {other} laughed and ate {other.portion:a} of {other.likes}."
| {other.she} was so {happy} that {other.she} gave {other.pet_name} some {other.likes}."
"That was a good story," said {hero}.
| {hero} laughed too, for {hero.she} knew {other} and {other.pet_name}.
""",
    ),
    Event(
        "Hide and Seek",
        "the game behind the {tree}",
        """
They played hide and seek, and {hero} had to hide.
| "Close your eyes and count to ten," said {hero} to {friend}.
{hero} hid behind {tree:a} and kept very still.
| There was {big:a} {tree}, and behind it {hero} could hide.
{friend} looked everywhere, but {friend.she} did not find {hero.him}.
| {friend} looked behind every stone and under every bush.
"Where are you, {hero}?" called {friend}, who was a little {angry}.
| After a long time {friend} was {tired} and called {hero.her} name.
Then {hero} had to laugh, and so {friend} found {hero.him}.
| Then {wild:a} flew up, and {friend} saw the hat of {hero} behind the {tree}.
"I have found you!" shouted {friend}, and {friend.she} was {happy}.
| "You hide better than anybody in {hero.village}," said {friend}.
""",
        LAND,
    ),
    Event(
        "The Letter",
        "the letter from {neighbour}",
        """
A boy came running and brought a letter for {hero}.
| {hero} had a letter in {hero.her} pocket and opened it now.
The letter was from {neighbour}, who lives in {neighbour.village}.
| It was from {neighbour}, the {neighbour.job} from {neighbour.village}.
"I am ill and {sad}, and nobody comes to see me," wrote {neighbour}.
| In the letter it said that {neighbour} was ill and could not {neighbour.work}.
"We must go and see {neighbour.him}," said {friend}.
| {hero} was {sad} when {hero.she} read that.
So they went to {neighbour.village} and brought {neighbour.him} some {neighbour.likes}.
| They knew that {neighbour} liked {neighbour.likes}, so they brought {neighbour.him}
  some.
{neighbour} was lying in bed, and {neighbour.pet_name} the {neighbour.pet} lay beside
  it.
|
"Now I am {happy} again," said {neighbour} and ate all of the {neighbour.likes}.
| {neighbour} laughed and was {happy}, for {neighbour.she} had two good friends.
""",
    ),
    Event(
        "The Broken Cup",
        "the broken cup",
        """
{friend} had {beautiful:a} {colour} cup with {friend.him}.
| {friend} drank some water out of {beautiful:a} {colour} cup.
{hero} wanted to look at the cup, but it fell on a stone.
| {hero} took the cup and dropped it.
Now the {colour} cup was broken, and {hero} was {sad}.
| The {colour} cup broke in two, and {hero} did not know what to say.
"I am sorry, {friend}, I have broken your cup," said {hero}.
| {hero} did not lie and said that {hero.she} was sorry.
{friend} was {angry} at first, because {friend.she} had loved the cup.
|
But then {friend.she} said that it was only a cup.
| "A friend is more than a cup," said {friend} and was not {angry} any more.
The next day {hero} brought {friend.him} a new {colour} cup.
|
""",
    ),
)
