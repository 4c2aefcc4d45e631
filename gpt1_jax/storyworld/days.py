"""What frames a chapter: morning, the way out, the evening; and a book's thread.

Templates as `narration` reads them.
"""

import dataclasses

WEATHER = {
    "sunny": ("The sun was shining", "The sun was low and red now"),
    "rainy": ("Rain was falling on the roofs", "The rain had stopped at last"),
    "windy": ("The wind was blowing hard", "The wind was still blowing"),
    "foggy": ("A white fog lay over the fields", "The fog was gone by now"),
    "snowy": ("Snow lay on the roofs", "It was snowing again"),
    "cloudy": ("Grey clouds hung over the village", "The clouds had gone away"),
}

MORNING = """
It was a {weather} morning in {hero.village}.
| One {weather} morning, {hero} woke up early.
| {hero} opened {hero.her} eyes and looked out of the window.
{sky}.
| {sky}, and the village of {hero.village} was waking up.
{hero} lived in {hero.home:a}, and {hero.her} {hero.pet} {hero.pet_name} lived there
  with {hero.him}.
| {hero} got out of bed and called {hero.her} {hero.pet} {hero.pet_name}.
| {hero.pet_name} the {hero.pet} was already awake.
{hero} gave {hero.pet_name} some water and a good breakfast.
| First {hero} fed {hero.pet_name}, because the {hero.pet} was always hungry.
|
Then {hero.she} ate {hero.portion:a} of {hero.likes}.
| For breakfast there was {hero.likes}, which {hero.she} liked best of all.
| Then {hero.she} washed {hero.her} face and combed {hero.her} hair.
{hero} was {hero.job:a}, so {hero.she} had to {hero.work}.
| {hero.she} had to {hero.work}, for that is what {hero.job:a} does.
| There was no work for {hero.job:a} that day.
|
When that was done, {hero.she} was ready to go out.
| "Today will be a good day," said {hero}.
| "Be good, {hero.pet_name}," said {hero} and closed the door.
"""

WAY_OUT = """
In front of {hero.her} door stood {friend}.
| Somebody knocked at the door, and it was {friend}.
| On the road {hero.she} met {friend}.
{friend} was {hero.her} {bond}.
| {friend} was {friend.job:a} from {friend.village}, and {hero} was glad to see
  {friend.him}.
| {hero} knew {friend.him} well, for {friend} was {hero.her} {bond}.
"Shall we go to {spot}?" asked {friend}.
| "Come with me to {spot}!" said {friend}.
| "Let us go to {spot}," said {friend}.
| {friend} wanted to go to {spot}.
"Yes, let us go to {spot} together," said {hero}.
| {hero} liked {spot} very much.
So the two friends walked down the road to {spot.village}.
| They took the road to {spot.village}, for {spot} is near {spot.village}.
| It was a long way to {spot.village}, but they talked and laughed all the time.
After an hour they were {spot.at}.
| Soon they came to {spot}.
| When they came to {spot}, they sat down to rest.
"""

EVENING = """
It was getting late, and {hero} and {friend} left {spot}.
| In the evening the two friends walked home from {spot}.
| "It is time to go home," said {friend}.
{later}.
|
"Good night, {hero}," said {friend} and went home to {friend.village}.
| At the crossroads {friend} said good night and took the road to {friend.village}.
| {friend} went home to {friend.village}, and {hero} went home to {hero.village}.

At home in {hero.village} {hero.pet_name} was waiting for {hero}.
| {hero.pet_name} the {hero.pet} was glad to see {hero} again.
| In {hero.her} home {hero} lit a candle and sat down beside {hero.pet_name}.
{hero} told {hero.pet_name} about {first_memory} and about {last_memory}.
| {hero} thought about {first_memory}.
| {hero} could not forget {last_memory}.
{hero.she} ate {hero.portion:a} of {hero.likes}, and it was {delicious}.
| There was {hero.likes} for supper, because {hero} liked it so much.
|
{hero.she} was {tired}, because {hero.she} had walked such a long way.
| {hero.she} yawned, for {hero.she} was {tired}.
Soon {hero.she} was asleep.
| {hero.she} went to bed and slept until the morning.
| {hero.she} blew out the candle and fell asleep.
"""


@dataclasses.dataclass(frozen=True)
class Thread:
    """A plot that a whole book follows; without `with_best_friend` others walk
    along."""

    title: str
    first: str
    daily: str
    last: str
    with_best_friend: bool = True


THREADS = (
    Thread(
        "{hero} and the Lost {hero.treasure:t}",
        """
This is the story of {hero} and {hero.her} {hero.treasure}.
{hero.she} had got it from {hero.her} grandmother, and {hero.she} loved it more than
  anything.
| It was old, but {hero} thought that it was {beautiful:a} thing.
One day the {hero.treasure} was gone.
| One day {hero} could not find the {hero.treasure}.
{hero} looked under the bed, behind the door and in the garden.
| {hero.she} looked in every corner of the house, but it was not there.
{hero.she} was very {sad}, because {hero.she} had lost {hero.her} {hero.treasure}.
| "Where is my {hero.treasure}?" cried {hero}, and {hero.she} was {sad}.
"I will look for it everywhere until I find it," said {hero}.
""",
        """
{hero} had still not found {hero.her} {hero.treasure}.
| {hero} still thought of {hero.her} lost {hero.treasure}.
"Have you seen my {hero.treasure}?" {hero.she} asked everybody {spot.at}, but nobody
  had seen it.
| "Maybe somebody has found my {hero.treasure} {spot.at}," {hero.she} said.
That made {hero.him} {sad} for a while.
|
""",
        """
On the last day {friend} came running to the house of {hero}.
"Look what I have found {spot.at}!" shouted {friend}.
It was the {hero.treasure}!
| {friend} opened {friend.her} hand, and there was the {hero.treasure}.
{hero} was so {happy} that {hero.she} danced around the table.
| {hero} laughed and cried, because {hero.she} was so {happy}.
"Thank you, {friend}!" {hero.she} said. "You are the best friend in the world."
And {hero} never lost {hero.her} {hero.treasure} again.
""",
    ),
    Thread(
        "A Present for {dear}",
        """
This is the story of a present.
Soon it would be the birthday of {dear}.
{dear} was the best friend of {hero} and lived in {dear.village}.
"What shall I give to {dear}?" thought {hero}.
{hero.she} knew that {dear} liked {dear.likes} and had {dear.pet:a} called
  {dear.pet_name}.
| {hero.she} knew that {dear} was {dear.job:a} and that {dear.she} liked to
  {dear.hobby}.
But {hero} did not know what to give {dear.him}, and {hero.she} was {sad}.
"I will look for a present everywhere until I find the right one," said {hero}.
""",
        """
{hero} still had no present for {dear}.
| {hero} was still looking for a present for {dear}.
"I could give {dear} {colour:a} {flower}," {hero.she} said, but then {hero.she} shook
  {hero.her} head.
| "What does {dear} like?" {hero.she} asked. "{dear} likes {dear.likes}," said {friend}.
""",
        """
At last it was the birthday of {dear}.
{hero} had made {dear.likes} all morning.
| All morning {hero} had stood in the kitchen and cooked {dear.likes}.
{hero.she} walked to {dear.village} and knocked at the door of {dear}.
"Happy birthday, {dear}!" said {hero}.
{dear} tasted the {dear.likes}, and it was {delicious}.
"How did you know that I like {dear.likes} best of all?" asked {dear}.
"Because you are my friend," said {hero}, and both of them were {happy}.
""",
        with_best_friend=False,
    ),
    Thread(
        "The Long Walks of {hero}",
        """
This is the story of {hero}, who wanted to see the whole country.
{hero} was {hero.job:a} in {hero.village}, and {hero.she} had never been far away.
"I want to see {spot} and everything else," said {hero} to {hero.her} {hero.pet}
  {hero.pet_name}.
| "Every day I will go to another place," said {hero} to {hero.her} {hero.pet}
  {hero.pet_name}.
{hero} took a little book, for {hero.she} wanted to write down everything.
{hero.she} was {happy}, because {hero.she} would see so many new things.
| {hero.she} was a little {afraid}, because the world was so {big}.
""",
        """
{hero} took out {hero.her} little book and wrote a few words about {spot}.
| "I must write this down," said {hero} and opened {hero.her} little book.
In the book it said that {spot} is near {spot.village}.
| "{spot} is near {spot.village}," {hero.she} wrote.
|
""",
        """
At last the little book was full.
{hero} had seen the river and the lake, the forest and the hill.
{hero.she} had met many people and had not forgotten one of them.
In the evening all of them came to {hero.village} for a feast.
There was {hero.likes}, because {hero} liked it best.
{hero} read to them from {hero.her} little book until it was dark.
"There is no place like home," said {hero}, and everybody was {happy}.
""",
    ),
    Thread(
        "The Brave Days of {hero}",
        """
This is the story of {hero} and {hero.fears:a}.
{hero} was afraid of nothing but {hero.fears:s}.
| There was only one thing that {hero} was afraid of, and that was {hero.fears:a}.
When {hero.she} saw {hero.fears:a}, {hero.she} always ran away.
"{hero} is afraid of {hero.fears:s}!" the people of {hero.village} said and laughed.
That made {hero} {angry} and {sad}.
"I will learn to be {brave}," said {hero} to {hero.her} {hero.pet} {hero.pet_name}.
""",
        """
"Are there any {hero.fears:s} {spot.at}?" asked {hero}.
| {hero} looked around, but there was no {hero.fears} to be seen {spot.at}.
"Do not be afraid of {hero.fears:s}," said {friend}. "I am with you."
| "I want to be {brave}," said {hero}, and {hero.she} meant it.
""",
        """
On the last day {hero} heard somebody cry for help.
It was {friend}, and in front of {friend} stood {hero.fears:a}.
{hero} was {afraid}, but {hero.she} did not run away.
"Go away, {hero.fears}!" shouted {hero} as loudly as {hero.she} could.
And the {hero.fears} turned around and went away.
"You are so {brave}, {hero}!" said {friend}.
Nobody in {hero.village} laughed any more, and {hero} was {happy}.
""",
    ),
)
