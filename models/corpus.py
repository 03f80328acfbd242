#!/usr/bin/env python3
"""Write the training corpus: script-generated chats and stories, and prose from local documentation.

Usage: python3 corpus.py --out corpus.txt [--chars 24000000] [--seed 20240607] [--rust-html DIR]

Documents are separated by the text <|endoftext|>. Everything is plain ASCII, so that the byte-level
BPE spends its whole vocabulary on English. The grammar below is the source of every chat document:
"[a|b]" picks one alternative (nesting allowed), "{slot}" picks from a list or a bound value.
"""
import argparse
import html
import pathlib
import pydoc_data.topics
import random
import re

from facts import ADVICE, FACTS, HOWTO, SCENES

END = "<|endoftext|>"


def words(text):
    return [w.strip() for w in text.strip().split(",")]


L = {
    "girl": words("Mara, Lena, Ada, Ruth, Ivy, Nora, Tilda, Greta, Elsa, June, Hazel, Clara, Maya, Rosa, Anna, Lucy, Wren, Sophie, Mina, Edith, Freya, Olive, Pearl, Stella, Dora, Esther, Flora, Helen, Ingrid, Joan"),
    "boy": words("Tom, Oskar, Finn, Hugo, Jonas, Milo, Ned, Otto, Paul, Rafael, Samir, Theo, Victor, Walter, Anton, Ben, Caleb, David, Emil, Felix, George, Henry, Isaac, Jack, Karl, Leo, Martin, Noah, Peter, Simon"),
    "animal": words("fox, owl, bear, otter, heron, hare, badger, mouse, hedgehog, wolf, deer, crow, goose, frog, turtle, squirrel, beaver, cat, dog, goat, horse, sparrow, salmon, rabbit, swan, mole, lynx, duck, kingfisher, whale"),
    "person": words("baker, miller, gardener, engineer, teacher, sailor, ferryman, painter, shepherd, clockmaker, farmer, doctor, librarian, fisherman, weaver, carpenter, postman, nurse, musician, beekeeper, lock keeper, lighthouse keeper, night watchman, potter, tailor"),
    "thing": words("robot, lantern, clock, kite, boat, bell, teapot, train, violin, bicycle, scarecrow, snowman, star, cloud, river, bridge, tree, mill, umbrella, computer"),
    "trait": words("quiet, clever, stubborn, gentle, curious, lazy, brave, shy, patient, proud, cheerful, lonely, careful, hungry, forgetful, kind, restless, old, young, small, tired, honest, clumsy, sleepy, wise, grumpy, playful, thoughtful"),
    "place": words("the forest, a narrow valley, the old harbour, a village by the river, the edge of a lake, a windy hill, the marsh, a small town, the mountains, an orchard, the mill by the weir, an island, a city full of bridges, the meadow, a farm near the sea, the reed beds, a house at the end of the lane, the library, the station, a garden behind a wall"),
    "object": words("a silver key, a basket of apples, a letter, a lost button, a small bell, a blue stone, a loaf of bread, a map, an old coin, a jar of honey, a broken watch, a feather, a ball of red wool, a lantern, a book without a cover, a wooden box, a pair of boots, a bag of seeds, a tin whistle, a warm coat"),
    "wish": words("to see the sea, to learn how to sing, to find a friend, to build a boat, to cross the river, to sleep through the winter, to find the way home, to plant a garden, to fly, to know what was behind the hill, to bake the best bread in the valley, to hear a new story, to see the snow, to repair the old bridge, to catch the moon, to be useful, to win the race, to read every book, to make the longest scarf in the world, to keep a secret"),
    "time": words("One morning, One evening, In the spring, On the first day of winter, After the rain, Late in the summer, One cold night, Early on a Sunday, On market day, At the end of autumn, Before sunrise, In the middle of the night, A few days later, One grey afternoon, When the moon was full"),
    "weather": words("the wind was blowing from the west, it was raining softly, the fog lay over the fields, the sun was warm, snow was falling, the air smelled of wet grass, the stars were bright, thunder was rolling in the distance, the leaves were turning red, everything was quiet, the river was high, the ice was beginning to melt"),
    "obstacle": words("the bridge was gone, the path was flooded, a great tree had fallen across the road, the gate was locked, nobody wanted to listen, the wind was too strong, the night was too dark, the boat had a hole in it, the hill was too steep, there was nothing left to eat, the river was too wide, the map was wrong, the snow was too deep, the lamp went out, the rope broke, the others only laughed"),
    "feeling": words("glad, tired but happy, a little sad, proud, surprised, warm inside, calm, very hungry, ashamed, hopeful, relieved, worried, full of joy, not afraid any more"),
    "food": words("soup, fresh bread, apple cake, roasted nuts, porridge, cheese, berries, honey, mushrooms, hot chocolate, pancakes, dried fish, tea, pears"),
    "moral": words("a small kindness is never lost, it is better to ask than to wander, patience is stronger than force, a friend is worth more than gold, the longest road begins at your own door, even a small light helps in the dark, what is shared becomes twice as good, nobody is too small to help, a promise should be kept, being different is not the same as being wrong, water always finds a way, it is never too late to begin, listening is also a kind of work, home is where somebody waits for you"),
    "colour": words("red, blue, green, grey, yellow, white, black, brown, golden, silver, dark green, pale blue"),
    "nature": words("the water, the reeds, the old oak, the stones, the clouds, the moon, the stars, the grass, the bridge, the roofs, the mill wheel, the fields, the hills, the road"),
}


def expand(text, rng, bound):
    """Expand one grammar string; innermost alternatives first, then slots."""
    while True:
        m = re.search(r"\[([^\[\]]*)\]", text)
        if not m:
            break
        text = text[: m.start()] + rng.choice(m.group(1).split("|")) + text[m.end() :]
    text = re.sub(r"\{(\w+)\}", lambda m: bound.get(m.group(1)) or rng.choice(L[m.group(1)]), text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU]|honest)(?!one|use|uni)", r"\1n ", text)
    text = re.sub(r"  +", " ", text).strip()
    return re.sub(r"(^|[.!?] |\.['\"] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


OPEN = [
    "Once upon a time there was a {trait} {hero} [called {name}|named {name}|whose name was {name}], who lived in {place}.",
    "There was once a {trait} {hero} in {place}. [Everyone called {obj} {name}.|{Sub} was called {name}.|{Pos} name was {name}.]",
    "{name} was a {trait} {hero}[ who lived in {place}| and {pos} home was in {place}|. {Sub} lived in {place}, [far from everyone|with {pos} family|all alone|next to a {trait} {person}]].",
    "In {place} there lived a {trait}[| and {trait}] {hero}. {Pos} name was {name}.",
    "[Long ago|Many years ago|Not so long ago|A hundred years ago], when {weather}, a {trait} {hero} named {name} came to {place}.",
    "{time}, a {trait} {hero} [sat|stood|waited|woke up] in {place} and thought about {object}. {Pos} name was {name}.",
]
WANT = [
    "More than anything, {name} wanted {wish}.",
    "{name} had one wish: {wish}.",
    "Every [day|night|morning|evening] {sub} [dreamed|thought|talked|sang] about one thing only, and that was {wish}.",
    "{Sub} [liked|loved] {food} and [long walks|quiet evenings|the sound of rain|old songs|the smell of the river], but most of all {sub} wanted {wish}.",
    "All the [animals|neighbours|children] said that it was [silly|impossible|dangerous|much too hard] {wish}, but {name} did not [listen|agree|mind|believe them].",
    "{name} had [lost|found|borrowed|been given] {object}, and now {sub} did not know what to do with it.",
]
START = [
    "{time}, when {weather}, {sub} [packed {object} and some {food}|put on {pos} {colour} [hat|coat|scarf]|closed the door|said goodbye] and [set out|went down to {place}|began to walk|followed the river].",
    "{time} {weather}, and {name} [found {object} under {nature}|heard a strange sound near {nature}|saw a {colour} light behind {nature}|could not sleep].",
    "So {time2} {sub} [left {place}|went to ask the {trait} {person}|made a plan|started to work], [although|even though|just as] {weather}.",
    "{time}, a {trait} {friend} came [by|to the door|along the road] with {object}. \"[Good morning|Hello|Excuse me|Good evening],\" said the {friend}. \"[Are you going to {placeb}?|Can you help me?|I have come a long way.|Do you know the way to {placeb}?|Have you seen {object}?]\"",
]
TROUBLE = [
    "But {obstacle}[|, and {weather}].",
    "[At first|For a while] [all went well|everything was easy|it was pleasant], but then {obstacle}.",
    "{Sub} [walked|worked|waited|tried] for [three|two|seven|many] [days|hours|nights], but {obstacle}.",
    "Soon {sub} saw that {obstacle}. \"[Oh dear|What now|This is not good|I should have stayed at home],\" said [{name}|the {hero}][| [sadly|quietly|with a sigh]].",
    "{name} [sat down under {nature}|looked at {nature}|stopped] and [was {feeling}|began to cry|did not know what to do|thought for a long time], because {obstacle}.",
]
HELP = [
    "\"[Nobody|Not even the {friend}] has ever seen a {hero} [like you|in {placeb}],\" [laughed|said] the {person}. But the {hero} [only smiled|did not answer|went on].",
    "Then a {trait} {friend} [came out of|appeared behind|looked up from|was sitting beside] {nature}. \"[Why are you so sad|What is wrong|Where are you going|Who are you|Can I help you]?\" [asked|said] the {friend}.",
    "A {trait} {friend} had [seen|heard] everything. \"[Do not worry|Follow me|I know a way|Let us try together|You forgot something],\" the {friend} [said|whispered|called|laughed], and gave {obj} {object}.",
    "\"[I only want|All I want is] {wish},\" said {name}. The {friend} [smiled|nodded|thought about this|shook its head] and said, \"[Then you must go to {placeb}|Then come with me|First eat some {food}|You will need {object}|It is not as hard as you think].\"",
    "Just then {sub} [met|remembered|saw] the {friend}, who was {trait}[| but also very {trait}]. [Together they|The two of them] [looked for another way|made a fire and ate some {food}|worked until the evening|talked until {weather}].",
    "{name} [took a deep breath|remembered {object}|closed {pos} eyes|tried once more] and [asked the {friend} for help|started again from the beginning|listened to {nature}|shared the {food} with a {friend}].",
]
RESULT = [
    "[In the end|At last|After a long time], {name} [got {pos} wish|found what {sub} was looking for|learned how it was done|reached {placeb}], and {sub} was {feeling}.",
    "[By evening|When the sun came up|The next day|That night] they [were standing in {placeb}|had crossed the river|had repaired everything|found {object}], and {weather}.",
    "It [took|needed] [a whole week|all night|a long time|only a moment], but [it worked|they did it|nobody gave up|it was worth it]. {name} felt {feeling}.",
    "{name} [thanked|hugged|looked at] the {friend}. \"[I could not have done it without you|You are a true friend|Now I understand|Come and visit me|Let us go home],\" {sub} said.",
    "[It was not what {sub} had expected|It was not {object}|It was even better], but {name} was {feeling} all the same.",
]
CLOSE = [
    "And from that day on, {name} and the {friend} [were friends|ate {food} together every [evening|Sunday|winter]|were never lonely again|told the story to everyone in {place}].",
    "{name} never forgot that {moral}.",
    "And that is [how {name} learned|why they say in {place}] that {moral}.",
    "And this was the story of {name}, the {trait} {hero}[| who wanted {wish}| and {pos} {friend}].",
    "[Then {sub} went home|Then they went home], ate some {food}, and slept [until the morning|for a very long time|better than ever before].",
    "Some people say that {name} still lives in {place}[, and that on quiet nights you can hear {obj} singing| with the {trait} {friend}|, and still has {object}].",
    "",
]
ASK = [
    "[Tell me|Please tell me|Can you tell me|Could you tell me|I would like to hear|Write|Write me|Give me|Make up|Tell us] a [|short |little |new |nice |bedtime |funny ]story about {topic}[.|?|| please.| for my children.]",
    "[Story about {topic}|A story about {topic}, please|Do you know a story about {topic}?|Do you know any stories about {topic}?]",
    "I [love|like] stories about {topic}. [Tell me one.|Do you know one?|Please write one.]",
]


def pronouns(rng):
    sub, obj, pos, names = rng.choice([("she", "her", "her", "girl"), ("he", "him", "his", "boy")])
    return {"sub": sub, "obj": obj, "pos": pos, "Sub": sub.title(), "Pos": pos.title(), "name": rng.choice(L[names])}


def story(rng):
    """One story and a prompt topic that names its hero (and sometimes the friend or the place)."""
    b = pronouns(rng)
    hero = rng.choice(L[rng.choice(["animal", "animal", "animal", "person", "person", "thing"])])
    friend = rng.choice(L[rng.choice(["animal", "animal", "person"])])
    b.update(hero=hero, friend=friend, place=rng.choice(L["place"]), placeb=rng.choice(L["place"]), wish=rng.choice(L["wish"]), time2=rng.choice(L["time"]).lower())
    parts = [OPEN]
    parts += [WANT] if rng.random() < 0.8 else []
    parts += [START] if rng.random() < 0.85 else []
    parts += [TROUBLE] if rng.random() < 0.85 else []
    parts += [HELP] * rng.choice([1, 1, 2])
    parts += [RESULT] * rng.choice([1, 1, 2]) + [CLOSE]
    text = []
    for i, part in enumerate(parts):
        own = dict(b)
        if i > 0 and part is not CLOSE and rng.random() < 0.6:
            own.pop("place")
        s = expand(rng.choice(part), rng, own)
        if s:
            text.append(s)
    out = text[0]
    for s in text[1:]:
        out += ("\n\n" if rng.random() < 0.12 else " ") + s
    topic = rng.choice(["a " + hero, "a " + hero, "a " + hero + " and a " + friend, "a {trait} " + hero, hero + "s", "a " + hero + " in " + b["place"], "a " + hero + " called " + b["name"]])
    topic = expand(topic, rng, {})
    return expand(rng.choice(ASK), rng, {"topic": topic[0].lower() + topic[1:]}), out


TAIL = ["", "", "", "", "[I hope this helps.|Is there anything else you would like to know?|Would you like to hear more?|Does that answer your question?|That is the short answer.|Ask me if you want to know more.|Shall I tell you more about it?]"]
LEAD = ["", "", "", "", "[Of course.|Certainly.|Good question.|Gladly.|That is a good question.|Sure.|With pleasure.|Let me explain.|In short:]"]
WHATIS = ["What is {t}?", "What is {t}?", "What's {t}?", "[Tell me|Can you tell me something|Tell me something|Please tell me] about {p}.", "[Explain|Describe|Please explain] {p}.", "[Can you explain|Do you know] what {t} is?", "What [can you tell me|do you know] about {p}?", "{p}?", "[How do|How does] {p} work?"]
JOIN = ["", "", "", "[Also, |In fact, |Of course, |And |Besides, ]"]


PLAIN = words("It, Its, They, The, A, An, In, On, At, By, If, As, Some, Many, Most, There, Every, Each, After, Before, Without, When, Where, While, With, One, People, Nobody, Everything, Children, Old, Young, Fresh, Large, Long, To, You, We, Nothing, Inside, Much")


def can_join(s):
    """Whether a sentence may follow "Also," with a small first letter: it does not begin with a name."""
    return s.split(" ")[0] in PLAIN


def fact(rng):
    """A question about one topic, answered with a definition and some of its facts in random order."""
    item = rng.choice(FACTS)
    body = [expand(rng.choice(item["d"]), rng, {})]
    for f in rng.sample(item["f"], k=min(len(item["f"]), rng.choice([2, 2, 3, 3, 4, 5]))):
        s = expand(f, rng, {})
        j = expand(rng.choice(JOIN), rng, {})
        body.append(j + " " + s[0].lower() + s[1:] if j and can_join(s) else s)
    answer = " ".join(x for x in [expand(rng.choice(LEAD), rng, {})] + body + [expand(rng.choice(TAIL), rng, {})] if x)
    q = expand(rng.choice(WHATIS + item.get("q", [])), rng, {"t": item["t"], "p": item["p"]})
    return q, answer


GREET = [
    ("[Hello|Hi|Hey|Good morning|Good evening|Hello there|Good day|Hi there][!|.|]", "[Hello|Hi|Hello there|Good day to you|Hi there|Welcome][!|.] [How are you today|What can I do for you|How can I help you|What would you like to talk about|What brings you here]? [I can tell you a story, [answer a small question|explain something|talk about rivers], or just chat.|I know [a few things|a little] about rivers, weirs[, animals|, weather|] and computers.|I am [glad you are here|happy to help|a small model, but I like to talk].|You can ask me about {anyp}[ or about {anyp2}|].|Would you like to hear [a story about a {animal}|something about {anyp}]?]"),
    ("[How are you?|How are you today?|How do you do?|How is it going?|Are you well?]", "[I am [well|fine|very well], thank you.|Thank you for asking, I am [well|fine].|All is well here.] [I have been thinking about {anyp}.|It is a quiet day on this computer.|{weatherS}, or so I imagine.|I spent the morning reading about {anyp}.] [And how are you?|How about you?|What about you?|What can I do for you?]"),
    ("[Who are you?|What are you?|What is your name?|Introduce yourself.|Are you a robot?|Are you a person?|What can you do?]", "[I am|My name is Weir, and I am] a [small|very small|tiny] language model[ that runs on a plain computer|, trained on simple stories and facts|]. [I can tell short stories, answer simple questions, and talk about {anyp}.|I like to tell stories about [animals|people|rivers] and to explain things such as {anyp}.|I was made to show that a datacenter does what it says.|I know about {anyp} and {anyp2}, and not much else.] [I make mistakes, so please check what I say.|Do not trust me with anything important.|Ask me anything, but do not expect too much.|What would you like to know?|Shall I tell you a story about a {animal}?]"),
    ("[Thank you|Thanks|Thank you very much|Thanks a lot|That was nice|That was helpful][!|.|]", "[You are welcome|My pleasure|Gladly|I am glad you liked it|It was nothing][!|.] [If you have another question, just ask.|Would you like [another one|to hear about {anyp}|a story about a {animal}]?|Have a [nice|good|pleasant] [day|evening|week].|Come back any time.] [|I will be here, thinking about {anyp}.]"),
    ("[Goodbye|Bye|Good night|See you|See you tomorrow|I have to go][!|.|]", "[Goodbye|Good night|Farewell|See you soon|Take care][!|.] [It was nice to talk to you.|I hope you have a [good|quiet|pleasant] [day|night|evening].|Sleep well, and dream of {nature}.|Come back when you want to hear a story about a {animal}.] [|Until next time.|Take {object} with you.]"),
    ("[I am|I feel|Today I am] [sad|tired|bored|lonely|angry|nervous|worried][.|| today.]", "[I am sorry to hear that.|That happens to everyone.|Thank you for telling me.|Oh dear.] [Sometimes it helps to [go for a walk|drink a cup of tea|talk to a friend|look at {nature}|eat some {food}|sleep for a while].|Perhaps [a walk by the river|some {food}|a good book|a little music] would help.] [Remember that {moral}.|Would you like to hear a story about a {animal}?|Do you want to tell me more about it?|Tomorrow may be [better|brighter|quieter].] [|I am here if you want to talk.]"),
    ("[What is your favourite [colour|animal|food|place|season]?|What do you like?|Do you have a favourite [animal|place|food]?|What is your favourite thing?]", "[I do not have [eyes|feelings|a body], but I like the [word|sound of the word] {anyp}.|I think I like {colour} best, because it reminds me of {nature}.|I like the {animal}, because it is so {trait}.|I would choose {place}, [especially|most of all] when {weather}.|I have never tasted {food}, but it sounds good.] [What about you?|And what do you like?|What is yours?|Perhaps that is a strange answer.] [|I also like stories about a {trait} {animal}.]"),
    ("[Tell me a joke.|Do you know a joke?|Say something funny.|Make me laugh.]", "Why did the {animal} [bring {object} to|walk all the way to|sit down in] {place}? Because [the {animal2} had already eaten the {food}|{obstacle}|it was too {trait} to ask the {person}|it wanted {wish}][!|.] [I am sorry, I am not very funny.|That is the only joke I know.|I hope you laughed a little.|The {person} did not laugh.]"),
    ("[What should I [eat|cook|have] [today|tonight|for dinner]?|I am hungry.|What is good to eat?]", "[How about|You could try|I would suggest|Why not make] some {food}[ with {food2}|]? [It is [simple|quick|warm|cheap] and [good|filling|everyone likes it].|It goes well with {food2}.|A {person} once told me that it tastes best when {weather}.] [Do not forget [the salt|a glass of water|to share it].|Enjoy your meal!|And afterwards, go for a walk.]"),
    ("[What shall I do today?|What should I do [this weekend|today|tonight]?|I am bored, what can I do?|Give me an idea.]", "[You could|Why not|Perhaps you could] [visit {place}|read a book about {anyp}|bake some {food}|write a letter to an old friend|learn something about {anyp}|draw a {animal}|repair {object}]. [If {weather}, [take a coat|stay inside and make tea|all the better].|Take {object} with you.|It does not have to be [perfect|important|useful].] [And if that is too much, just [rest|look at {nature}|sit by the river].|Tell me afterwards how it was.|I would go with a {trait} friend.]"),
]


def chat(rng):
    q, a = rng.choice(GREET)
    item, item2 = rng.sample(FACTS, 2)
    b = {"anyp": item["p"], "anyp2": item2["p"], "food2": rng.choice(L["food"]), "animal2": rng.choice(L["animal"])}
    b["weatherS"] = rng.choice(L["weather"]).capitalize()
    return expand(q, rng, {}), expand(a, rng, b)


def howto(rng):
    name, need, steps, ends = rng.choice(HOWTO)
    q = expand("[How do I|How can I|How do you|Tell me how to|What is the best way to|Can you explain how to] " + name + "[?|, please.]", rng, {})
    if q.startswith("Tell"):
        q = q.replace("?", ".")
    body = [expand(s, rng, {}) for s in steps if rng.random() < 0.85] or [expand(steps[0], rng, {})]
    lead = expand(need, rng, {})
    style = rng.random()
    if style < 0.35:
        text = lead + "\n" + "\n".join("%d. %s" % (i + 1, s) for i, s in enumerate(body))
        return q, text + "\n" + expand(rng.choice(ends), rng, {})
    join = ["First, ", "Then ", "After that, ", "Next, ", "Now ", "When that is done, "]
    out = [lead]
    for i, s in enumerate(body):
        j = join[0] if i == 0 else rng.choice(join[1:])
        out.append(j + s[0].lower() + s[1:])
    return q, " ".join(out) + " " + expand(rng.choice(ends), rng, {})


def advice(rng):
    q, items = rng.choice(ADVICE)
    picks = [expand(s, rng, {}) for s in rng.sample(items, k=min(len(items), rng.choice([2, 3, 3, 4])))]
    lead = expand("[|Here are a few ideas.|There are several things you can try.|That depends, but some things usually help.|I am only a small model, but I would say this.]", rng, {})
    if rng.random() < 0.3:
        text = (lead + "\n" if lead else "") + "\n".join("- " + p for p in picks)
    else:
        text = (lead + " " + " ".join(picks)).strip()
    end = expand("[|||Good luck!|Be patient with yourself.|Remember that {moral}.|Tell me how it goes.]", rng, {})
    return expand(q, rng, {}), text + ("\n" if "\n" in text and end else " ") + end if end else text


def scene(rng):
    q, lines = rng.choice(SCENES)
    b = pronouns(rng)
    text = " ".join(expand(s, rng, b) for s in rng.sample(lines, k=min(len(lines), rng.choice([3, 4, 4, 5]))))
    return expand("[Describe|Please describe|Write a few sentences about|What is it like in|Paint a picture of|Write a paragraph about] " + q + "[.|]", rng, {}), text


def letter(rng):
    b = pronouns(rng)
    to = rng.choice(L["girl"] + L["boy"])
    item = rng.choice(FACTS)
    b["anyp"] = item["p"]
    t = "Dear {to},\n[thank you for your letter|I hope you are well|it has been a long time since I wrote|I am writing to you from {place}|you asked me how things are here]. {time} {weather}, and I [thought of you|was in {place}|met the {trait} {person}|found {object}]. [The {person} told me that {moral}.|We ate {food} and talked about {anyp}.|The {animal} is [still here|well|getting old], and as {trait} as ever.|I still want {wish}, but {obstacle}.] [Do you remember {object}?|Please bring {object} when you come.|I am {feeling}.|Next week I will go to {place}.] [Write soon.|Come and visit me.|Give my love to everyone.|Take care of yourself.]\n[Yours|With love|Your friend|Best wishes],\n{name}"
    b["to"] = to
    q = expand("Write a [|short ]letter to {to}[.| about {anyp}.| from {place}.]", rng, b)
    return q, expand(t, rng, b)


SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant.", "You are a friendly assistant who answers briefly.", "Answer in simple English.", "You are Weir, a small model that runs in a datacenter.", "You are a storyteller.", "Be kind and clear.", "You are a helpful AI assistant."]
KINDS = [(story, 0.34), (fact, 0.33), (chat, 0.12), (howto, 0.06), (advice, 0.06), (scene, 0.06), (letter, 0.03)]


def turn(rng):
    fns, w = zip(*KINDS)
    return rng.choices(fns, w)[0](rng)


def chat_doc(rng):
    """One ChatML conversation; the template in the GGUF produces exactly this layout."""
    out = ""
    if rng.random() < 0.4:
        out += "<|im_start|>system\n" + rng.choice(SYSTEM) + "<|im_end|>\n"
    for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3])):
        q, a = turn(rng)
        if rng.random() < 0.12:
            q = q.lower()
        out += "<|im_start|>user\n" + q + "<|im_end|>\n<|im_start|>assistant\n" + a + "<|im_end|>\n"
    return out


def ascii_text(s):
    for a, b in (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2014", " - "), ("\u2013", "-"), ("\u2026", "..."), ("\u00a0", " ")):
        s = s.replace(a, b)
    return s.encode("ascii", "ignore").decode()


def rust_prose(root):
    """Paragraphs of the Rust documentation books (MIT OR Apache-2.0), without code blocks."""
    docs = []
    for sub in ("book", "reference", "cargo", "edition-guide", "embedded-book", "nomicon", "rust-by-example", "clippy", "rustc", "rustdoc", "error_codes"):
        for path in sorted((root / sub).rglob("*.html")):
            if path.name in ("print.html", "toc.html"):
                continue
            paras = re.findall(r"<p>(.*?)</p>", path.read_text(errors="ignore"), re.S)
            paras = [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", p))).strip() for p in paras]
            paras = [ascii_text(p) for p in paras if len(p) > 80 and p.count("`") < 6]
            if sum(map(len, paras)) > 400:
                docs.append("\n\n".join(paras))
    return docs


def python_prose():
    """Paragraphs of the Python language reference as shipped in pydoc_data (PSF licence)."""
    docs = []
    for _, text in sorted(pydoc_data.topics.topics.items()):
        paras = [re.sub(r"\s+", " ", p).strip() for p in text.split("\n\n")]
        paras = [ascii_text(p) for p in paras if len(p) > 120 and not re.search(r"[:=]{2}|>>>|\*{3}", p)]
        if paras:
            docs.append("\n\n".join(paras))
    return docs


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="corpus.txt")
    ap.add_argument("--chars", type=int, default=32_000_000)
    ap.add_argument("--seed", type=int, default=20240607)
    ap.add_argument("--rust-html", default="", help="share/doc/rust/html of a Rust toolchain")
    args = ap.parse_args()
    rng = random.Random(args.seed)
    prose = python_prose() + (rust_prose(pathlib.Path(args.rust_html)) if args.rust_html else [])
    # Long pages are cut so that no single page dominates a batch.
    chunks = []
    for d in dict.fromkeys(prose):
        paras, cur = d.split("\n\n"), ""
        for p in paras:
            cur = (cur + "\n\n" + p).strip()
            if len(cur) > 1500:
                chunks.append(cur)
                cur = ""
        if len(cur) > 200:
            chunks.append(cur)
    prose_chars = sum(map(len, chunks))
    docs, size = [], 0
    while size < args.chars - prose_chars:
        r = rng.random()
        d = chat_doc(rng) if r < 0.85 else (story(rng)[1] if r < 0.95 else scene(rng)[1])
        docs.append(d)
        size += len(d)
    docs += chunks
    rng.shuffle(docs)
    pathlib.Path(args.out).write_text(END.join(docs) + END)
    print("documents", len(docs), "generated chars", size, "prose chars", prose_chars)


if __name__ == "__main__":
    main()
